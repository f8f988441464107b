// The CUDA runtime, included here alone, and what turns its codes into exceptions.
#pragma once

#include <cstdint>
#include <string_view>

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <dpgather/core/error.hpp>

static_assert(CUDART_VERSION >= 12030, "dpgather needs CUDA 12.3 or newer");

namespace dpgather {

/// A CUDA call failed; `code()` is its cudaError_t.
class CudaError : public Error {
 public:
  CudaError(const ErrorContext& where, std::string_view call, cudaError_t code)
      : Error(where, concat(call, " failed: ", cudaGetErrorName(code), " (",
                            cudaGetErrorString(code), ")")),
        code_(code) {}
  [[nodiscard]] cudaError_t code() const noexcept { return code_; }

 private:
  cudaError_t code_;
};

namespace detail {

/// Throws CudaError unless `code` is success. The runtime's last error is cleared: it is reported
/// here, and must not surface in another library's check.
inline void cuda_check(cudaError_t code, std::string_view call, const ErrorContext& where = {}) {
  if (code == cudaSuccess) [[likely]]
    return;
  static_cast<void>(cudaGetLastError());
  throw CudaError(where, call, code);
}

/// What cudaStreamQuery or cudaEventQuery says: is the work still going on? "Not ready" is an error
/// to CUDA, and it must not be the last one for whoever asks next.
[[nodiscard]] inline bool cuda_pending(cudaError_t code) noexcept {
  if (code != cudaSuccess) static_cast<void>(cudaGetLastError());
  return code == cudaErrorNotReady;
}

/// For destructors: reports and goes on. A process that ends may unload CUDA first, which is no
/// error.
inline void cuda_report(cudaError_t code, std::string_view call) noexcept {
  if (code == cudaSuccess || code == cudaErrorCudartUnloading) return;
  static_cast<void>(cudaGetLastError());
  try {
    destructor_error_handler()(CudaError({}, call, code).what());
  } catch (...) {
  }
}

/// Makes `device` current for a scope.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    cuda_check(cudaGetDevice(&before_), "cudaGetDevice");
    if (device != before_) cuda_check(cudaSetDevice(device), "cudaSetDevice");
    changed_ = device != before_;
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope() {
    if (changed_) cuda_report(cudaSetDevice(before_), "cudaSetDevice");
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace detail
}  // namespace dpgather
