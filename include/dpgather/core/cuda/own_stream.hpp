// A CUDA stream that is owned.
#pragma once

#include <dpgather/core/cuda/api.hpp>

namespace dpgather {

/// Of the device that is current when it is made; not ordered with the default stream. A CudaStream
/// can be made from it, and must not outlive it.
class OwnStream {
 public:
  OwnStream() {
    detail::cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                       "cudaStreamCreateWithFlags");
  }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  ~OwnStream() { detail::cuda_report(cudaStreamDestroy(stream_), "cudaStreamDestroy"); }
  [[nodiscard]] cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace dpgather
