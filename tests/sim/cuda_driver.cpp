// The driver calls that the library takes: stream memory operations, and where memory begins.
#include <cstring>

#include <cuda.h>

#include "sim/api.hpp"
#include "sim/memory.hpp"

using namespace sim;

namespace {

std::uint32_t* word_at(CUdeviceptr address) {
  return reinterpret_cast<std::uint32_t*>(address);
}

bool is_word(CUdeviceptr address) {
  return address % 4 == 0 && is_device_accessible(word_at(address), 4);
}

void must_be_live(const std::uint32_t* word) {
  if (const auto bad = Memory::get().complaint(word, 4); !bad.empty())
    throw std::runtime_error(bad);
}

bool holds(std::uint32_t now, std::uint32_t value, unsigned condition) {
  switch (condition) {
    case CU_STREAM_WAIT_VALUE_EQ:
      return now == value;
    case CU_STREAM_WAIT_VALUE_AND:
      return (now & value) != 0;
    case CU_STREAM_WAIT_VALUE_NOR:
      return ~(now | value) != 0;
    default:
      return static_cast<std::int32_t>(now - value) >= 0;
  }
}

std::string in_hex(const void* pointer) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", pointer);
  return text;
}

cudaError_t wait_value(cudaStream_t stream, CUdeviceptr address, std::uint32_t value,
                       unsigned flags) {
  if (!is_word(address)) return cudaErrorInvalidValue;
  const unsigned condition = flags & ~static_cast<unsigned>(CU_STREAM_WAIT_VALUE_FLUSH);
  if (condition > CU_STREAM_WAIT_VALUE_NOR) return cudaErrorInvalidValue;
  const std::uint32_t* const word = word_at(address);
  Work work{.name = "cuStreamWaitValue32", .kind = Count::memop};
  work.ready = [=] {  // of memory that is gone: `run` says so
    return !is_device_accessible(word, 4) ||
           holds(__atomic_load_n(word, __ATOMIC_SEQ_CST), value, condition);
  };
  work.run = [=] { must_be_live(word); };
  work.waits_for = [=] {
    return "waits for " + std::to_string(value) + " at " + in_hex(word) + " (condition " +
           std::to_string(condition) + ")";
  };
  return enqueue(stream, std::move(work));
}

cudaError_t write_value(cudaStream_t stream, CUdeviceptr address, std::uint32_t value,
                        unsigned flags) {
  if (!is_word(address) || flags > CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER)
    return cudaErrorInvalidValue;
  std::uint32_t* const word = word_at(address);
  return enqueue(stream, {.name = "cuStreamWriteValue32", .kind = Count::memop, .run = [=] {
                            must_be_live(word);
                            __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
                          }});
}

cudaError_t one_of_batch(cudaStream_t stream, const CUstreamBatchMemOpParams& op) {
  switch (op.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
      return wait_value(stream, op.waitValue.address, op.waitValue.value, op.waitValue.flags);
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
      return write_value(stream, op.writeValue.address, op.writeValue.value, op.writeValue.flags);
    case CU_STREAM_MEM_OP_BARRIER:
      return cudaSuccess;  // all of it is ordered anyhow
    default:
      return cudaErrorNotSupported;
  }
}

/// Errors that streams and their memory operations give have the same numbers in both APIs. The
/// driver keeps no last error.
template <class F>
CUresult driver_api(const char* name, F&& f) {
  const Turn turn;
  const cudaError_t before = this_thread().last_error;
  const cudaError_t result = api(name, std::forward<F>(f));
  this_thread().last_error = before;
  return static_cast<CUresult>(result);
}

}  // namespace

extern "C" {

CUresult cuInit(unsigned) {
  return options().devices == 0 ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
}

CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr address, cuuint32_t value,
                             unsigned flags) {
  return driver_api("cuStreamWaitValue32",
                    [&] { return wait_value(stream, address, value, flags); });
}
CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr address, cuuint32_t value,
                              unsigned flags) {
  return driver_api("cuStreamWriteValue32",
                    [&] { return write_value(stream, address, value, flags); });
}
CUresult cuStreamBatchMemOp(CUstream stream, unsigned number, CUstreamBatchMemOpParams* ops,
                            unsigned flags) {
  return driver_api("cuStreamBatchMemOp", [&] {
    if (number > 256 || (number != 0 && ops == nullptr) || flags != 0) return cudaErrorInvalidValue;
    for (unsigned i = 0; i < number; ++i)
      if (const cudaError_t error = one_of_batch(stream, ops[i]); error != cudaSuccess)
        return error;
    return cudaSuccess;
  });
}

CUresult cuMemGetAddressRange(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr pointer) {
  return driver_api("cuMemGetAddressRange", [&] {
    const Allocation* const a = Memory::get().find(reinterpret_cast<void*>(pointer));
    if (a == nullptr || a->device < 0) return cudaErrorInvalidValue;
    if (base != nullptr) *base = reinterpret_cast<CUdeviceptr>(a->base);
    if (bytes != nullptr) *bytes = a->bytes;
    return cudaSuccess;
  });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (ordinal < 0 || ordinal >= options().devices) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  if (device < 0 || device >= options().devices) return CUDA_ERROR_INVALID_DEVICE;
  *value = attribute == CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR ? 1 : 0;
  return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = cudaGetErrorName(static_cast<cudaError_t>(error));
  return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = cudaGetErrorString(static_cast<cudaError_t>(error));
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* status) {
  return api("cudaGetDriverEntryPointByVersion", [&] {
    if (symbol == nullptr || function == nullptr) return cudaErrorInvalidValue;
    struct Entry {
      const char* name;
      void* function;
    };
    const Entry entries[] = {
        {"cuInit", reinterpret_cast<void*>(&cuInit)},
        {"cuStreamWaitValue32", reinterpret_cast<void*>(&cuStreamWaitValue32)},
        {"cuStreamWriteValue32", reinterpret_cast<void*>(&cuStreamWriteValue32)},
        {"cuStreamBatchMemOp", reinterpret_cast<void*>(&cuStreamBatchMemOp)},
        {"cuMemGetAddressRange", reinterpret_cast<void*>(&cuMemGetAddressRange)},
        {"cuDeviceGet", reinterpret_cast<void*>(&cuDeviceGet)},
        {"cuDeviceGetAttribute", reinterpret_cast<void*>(&cuDeviceGetAttribute)},
        {"cuGetErrorName", reinterpret_cast<void*>(&cuGetErrorName)},
        {"cuGetErrorString", reinterpret_cast<void*>(&cuGetErrorString)},
    };
    *function = nullptr;
    for (const Entry& entry : entries)
      if (std::strcmp(entry.name, symbol) == 0) *function = entry.function;
    if (status != nullptr)
      *status =
          *function != nullptr ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
  });
}

}  // extern "C"
