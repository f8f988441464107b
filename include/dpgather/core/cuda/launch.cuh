// The overload of `launch` that starts a kernel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/launch.hpp>

namespace dpgather {

namespace detail {

inline constexpr int launch_threads = 256;

template <class Body>
__global__ void __launch_bounds__(launch_threads, 1)
    run_rows(const __grid_constant__ Body body, std::int64_t rows, int lanes) {
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int each = launch_threads / lanes;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * each;
  std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * each + threadIdx.x / lanes;
  for (; row < rows; row += step) body(row, lane, lanes);
}

}  // namespace detail

/// Most blocks of one launch; rows beyond are taken in a stride. Lower it where many ranks share a
/// GPU. For the whole process: set it before ranks start.
inline int& launch_blocks() noexcept {
  static int blocks = 1024;
  return blocks;
}

/// Runs `body` on rows `[0, rows)` in stream order; `lanes_for(body)` threads share a row. On a
/// capturing stream the launch is recorded with the body by value.
template <RowBody Body>
void launch(CudaStream stream, std::string_view name, std::int64_t rows, const Body& body) {
  if (rows == 0) return;
  const int lanes = detail::lanes_for(body);
  const std::int64_t each = detail::launch_threads / lanes;
  const std::int64_t blocks = std::min<std::int64_t>((rows + each - 1) / each, launch_blocks());
  detail::run_rows<<<static_cast<unsigned>(blocks), detail::launch_threads, 0, stream.get()>>>(
      body, rows, lanes);
  detail::cuda_check(cudaGetLastError(), name);
}

}  // namespace dpgather
