// The transfers of a device's memory, in the order of a stream.
#pragma once

#include <span>

#include <dpgather/core/cuda/stream.hpp>

namespace test {

template <class T>
void upload(std::span<const T> from, T* to, dpgather::CudaStream stream) {
  if (from.empty()) return;
  dpgather::detail::cuda_check(
      cudaMemcpyAsync(to, from.data(), from.size_bytes(), cudaMemcpyHostToDevice, stream.get()),
      "cudaMemcpyAsync");
  stream.synchronize();
}
template <class T>
void download(const T* from, std::span<T> to, dpgather::CudaStream stream) {
  if (!to.empty())
    dpgather::detail::cuda_check(
        cudaMemcpyAsync(to.data(), from, to.size_bytes(), cudaMemcpyDeviceToHost, stream.get()),
        "cudaMemcpyAsync");
  stream.synchronize();
}

}  // namespace test
