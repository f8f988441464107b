// The library's `launch` on CUDA streams, where there is no nvcc: its kernel as a simulated one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/launch.hpp>

#include "sim/kernel.hpp"

namespace dpgather {

/// As in core/cuda/launch.cuh. Rows run in random order, with 1, 4 or 32 lanes in random order too.
template <RowBody Body>
void launch(CudaStream stream, std::string_view name, std::int64_t rows, const Body& body) {
  if (rows == 0) return;
  const auto start = [&]() -> cudaError_t {
    const sim::Turn turn;
    if (const sim::Fault* const fault = sim::call("kernel launch"))
      return static_cast<cudaError_t>(fault->cuda);
    constexpr std::array<int, 3> lanes_of{1, 4, 32};
    const int lanes = lanes_of[sim::choose(3)];
    return sim::launch_kernel(stream.get(), std::string(name), rows,
                              [body, lanes](std::int64_t row) {
                                std::array<int, 32> order{};
                                for (int i = 0; i < lanes; ++i) {
                                  const auto j = sim::choose(static_cast<std::uint64_t>(i) + 1);
                                  order[static_cast<std::size_t>(i)] = order[j];
                                  order[j] = i;
                                }
                                for (int i = 0; i < lanes; ++i)
                                  body(row, order[static_cast<std::size_t>(i)], lanes);
                              });
  };
  detail::cuda_check(start(), name);
  detail::cuda_check(cudaGetLastError(), name);
}

}  // namespace dpgather
