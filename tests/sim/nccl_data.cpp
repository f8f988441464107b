#include "sim/nccl_data.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace sim::nccl {

std::size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
    case ncclFloat8e4m3:
    case ncclFloat8e5m2:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
    default:
      return 0;
  }
}

const char* name_of(ncclDataType_t type) {
  static const char* const names[] = {"int8",   "uint8",    "int32",   "uint32",
                                      "int64",  "uint64",   "float16", "float",
                                      "double", "bfloat16", "fp8e4m3", "fp8e5m2"};
  return size_of(type) == 0 ? "no type" : names[type];
}

const char* name_of(ncclRedOp_t op) {
  switch (op) {
    case ncclSum:
      return "sum";
    case ncclProd:
      return "prod";
    case ncclMax:
      return "max";
    case ncclMin:
      return "min";
    case ncclAvg:
      return "avg";
    default:
      return "no op";
  }
}

const char* name_of(ncclResult_t result) {
  static const char* const names[] = {
      "ncclSuccess",         "ncclUnhandledCudaError", "ncclSystemError", "ncclInternalError",
      "ncclInvalidArgument", "ncclInvalidUsage",       "ncclRemoteError", "ncclInProgress"};
  return result >= 0 && result < ncclNumResults ? names[result] : "no result";
}

bool reducible(ncclDataType_t type) {
  return size_of(type) != 0 && type != ncclFloat8e4m3 && type != ncclFloat8e5m2;
}

namespace {

template <class Wide>
Wide fold(Wide a, Wide b, ncclRedOp_t op) {
  switch (op) {
    case ncclProd:
      return static_cast<Wide>(a * b);
    case ncclMax:
      return std::max(a, b);
    case ncclMin:
      return std::min(a, b);
    default:
      return static_cast<Wide>(a + b);
  }
}

template <class T, class Wide, class Widen, class Narrow>
void reduce_as(std::span<const std::byte* const> inputs, std::byte* out, std::size_t count,
               ncclRedOp_t op, const Widen& widen, const Narrow& narrow) {
  for (std::size_t i = 0; i < count; ++i) {
    Wide sum{};
    for (std::size_t r = 0; r < inputs.size(); ++r) {
      T element;  // buffers need not be aligned
      std::memcpy(&element, inputs[r] + i * sizeof(T), sizeof(T));
      const Wide value = widen(element);
      sum = r == 0 ? value : fold(sum, value, op);
    }
    if (op == ncclAvg) sum = static_cast<Wide>(sum / static_cast<Wide>(inputs.size()));
    const T result = narrow(sum);
    std::memcpy(out + i * sizeof(T), &result, sizeof(T));
  }
}

/// Wraps around, as the device does: `Wide` is unsigned where nothing depends on the sign.
template <class T, class Wide = T>
void reduce_plain(std::span<const std::byte* const> inputs, std::byte* out, std::size_t count,
                  ncclRedOp_t op) {
  reduce_as<T, Wide>(
      inputs, out, count, op, [](T x) { return static_cast<Wide>(x); },
      [](Wide x) { return static_cast<T>(x); });
}

template <class T>
void reduce_signed(std::span<const std::byte* const> inputs, std::byte* out, std::size_t count,
                   ncclRedOp_t op) {
  if (op == ncclSum || op == ncclProd)
    reduce_plain<T, std::uint64_t>(inputs, out, count, op);
  else
    reduce_plain<T>(inputs, out, count, op);
}

}  // namespace

void reduce(std::span<const std::byte* const> inputs, std::byte* out, std::size_t count,
            ncclDataType_t type, ncclRedOp_t op) {
  switch (type) {
    case ncclInt8:
      return reduce_signed<std::int8_t>(inputs, out, count, op);
    case ncclUint8:
      return reduce_plain<std::uint8_t, std::uint64_t>(inputs, out, count, op);
    case ncclInt32:
      return reduce_signed<std::int32_t>(inputs, out, count, op);
    case ncclUint32:
      return reduce_plain<std::uint32_t, std::uint64_t>(inputs, out, count, op);
    case ncclInt64:
      return reduce_signed<std::int64_t>(inputs, out, count, op);
    case ncclUint64:
      return reduce_plain<std::uint64_t>(inputs, out, count, op);
    case ncclFloat32:
      return reduce_plain<float>(inputs, out, count, op);
    case ncclFloat64:
      return reduce_plain<double>(inputs, out, count, op);
    case ncclFloat16:
      return reduce_as<__half, float>(
          inputs, out, count, op, [](__half x) { return __half2float(x); },
          [](float x) { return __float2half_rn(x); });
    case ncclBfloat16:
      return reduce_as<__nv_bfloat16, float>(
          inputs, out, count, op, [](__nv_bfloat16 x) { return __bfloat162float(x); },
          [](float x) { return __float2bfloat16_rn(x); });
    default:
      throw std::logic_error("sim: no reduction of this type");
  }
}

}  // namespace sim::nccl
