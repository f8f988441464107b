// The kernel that waits: one block, so that it is resident as soon as any of it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include <dpgather/core/cuda/launch.cuh>
#include <dpgather/core/cuda/wait_body.hpp>

namespace dpgather {

namespace detail {

/// Nanoseconds; the same clock for all of a device.
__device__ inline std::uint64_t device_clock() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

template <class Body>
__global__ void __launch_bounds__(launch_threads, 1)
    run_wait(const __grid_constant__ Body body, int rows, std::uint64_t limit) {
  const int row = static_cast<int>(threadIdx.x);
  bool late = false;
  if (row < rows) {
    body.begin(row);
    const std::uint64_t start = device_clock();
    while (!late && !body.done(row)) late = device_clock() - start > limit;
  }
  const bool expired = __syncthreads_or(late) != 0;
  if (row == 0) body.end(expired);
}

}  // namespace detail

/// See WaitBody; 1 to 256 rows. There is no occupancy to check: a single block of 256 threads
/// without shared memory fits every multiprocessor. It takes a part of one while it waits.
template <detail::WaitBody Body>
void launch_wait(CudaStream stream, std::string_view name, int rows, std::chrono::nanoseconds limit,
                 const Body& body) {
  detail::run_wait<<<1, detail::launch_threads, 0, stream.get()>>>(
      body, rows, static_cast<std::uint64_t>(limit.count()));
  detail::cuda_check(cudaGetLastError(), name);
}

}  // namespace dpgather
