// Copies between a CUDA device's memory and its mirror.
#pragma once

#include <cstddef>

#include <dpgather/core/cuda/stream.hpp>

#include "support/mirrored.hpp"

namespace test {

template <>
struct MirrorCopy<dpgather::CudaStream> {
  static void copy(const void* from, void* to, std::size_t bytes, dpgather::CudaStream stream) {
    dpgather::detail::cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream.get()),
                                 "cudaMemcpyAsync");
  }
};

}  // namespace test
