// The one header that includes <nccl.h>: its codes as exceptions, its types, its version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <nccl.h>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>

static_assert(NCCL_VERSION_CODE >= 21800, "dpgather needs NCCL 2.18 or newer");

// ncclMemAlloc, and windows for the buffers of a communicator.
#define DPGATHER_NCCL_HAS_MEMORY (NCCL_VERSION_CODE >= 21900)
#define DPGATHER_NCCL_HAS_WINDOWS (NCCL_VERSION_CODE >= 22700)

namespace dpgather {

/// An NCCL call failed, at once or later on; `code()` is its ncclResult_t.
class NcclError : public Error {
 public:
  NcclError(const ErrorContext& where, std::string detail, ncclResult_t code)
      : Error(where, std::move(detail)), code_(code) {}
  [[nodiscard]] ncclResult_t code() const noexcept { return code_; }

 private:
  ncclResult_t code_;
};

namespace nccl {

/// "ncclAllGather failed: unhandled cuda error (NCCL's own last words)".
[[nodiscard]] inline std::string error_text(ncclResult_t code, std::string_view call,
                                            ncclComm_t comm = nullptr) {
  std::string text = concat(call, " failed: ", ncclGetErrorString(code));
  const char* const last = ncclGetLastError(comm);
  if (last != nullptr && *last != '\0') text += concat(" (", last, ")");
  return text;
}

/// Throws NcclError unless `code` is success.
inline void check(ncclResult_t code, std::string_view call, const ErrorContext& where = {}) {
  if (code != ncclSuccess) [[unlikely]]
    throw NcclError(where, error_text(code, call), code);
}

/// Says what a destructor, or a thread of ours, cannot throw.
inline void report(std::string_view text) noexcept {
  try {
    destructor_error_handler()(std::string(text).c_str());
  } catch (...) {
  }
}

[[nodiscard]] constexpr ncclDataType_t datatype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return ncclFloat32;
    case DType::float64:
      return ncclFloat64;
    case DType::bfloat16:
      return ncclBfloat16;
    case DType::float16:
      return ncclFloat16;
    case DType::int32:
      return ncclInt32;
    case DType::int64:
      return ncclInt64;
  }
  return ncclNumTypes;
}

[[nodiscard]] inline std::string version_text(int version) {
  return concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

/// The library that is loaded must know all that this program was compiled for.
inline void require_version(const ErrorContext& where) {
  int version = 0;
  check(ncclGetVersion(&version), "ncclGetVersion", where);
  if (version >= NCCL_VERSION_CODE) return;
  throw NcclError(where,
                  concat("the NCCL that was loaded is ", version_text(version), ", older than the ",
                         version_text(NCCL_VERSION_CODE),
                         " that this program was compiled for; load that one or a newer one"),
                  ncclInvalidUsage);
}

}  // namespace nccl
}  // namespace dpgather
