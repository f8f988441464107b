// The transfers of a device's memory.
#pragma once

#include <cstddef>

#include <dpgather/core/cuda/stream.hpp>

#include "support/transfer.hpp"

namespace test {

template <>
struct Transfer<dpgather::CudaStream> {
  static void copy(void* to, const void* from, std::size_t bytes, dpgather::CudaStream stream) {
    if (bytes > 0)
      dpgather::detail::cuda_check(
          cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream.get()), "cudaMemcpyAsync");
    stream.synchronize();
  }
};

}  // namespace test
