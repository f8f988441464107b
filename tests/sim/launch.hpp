// The library's `launch` on CUDA streams, where there is no nvcc: its kernel as a simulated one.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/cuda/wait_body.hpp>
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

/// As in core/cuda/launch_wait.cuh: what a thread of the kernel spins on is asked whenever the work is
/// looked at. Rows begin one after another, in random order, and other work runs in between.
template <detail::WaitBody Body>
void launch_wait(CudaStream stream, std::string_view name, int rows, std::chrono::nanoseconds limit,
                 const Body& body) {
  struct Waiting {
    std::vector<int> to_begin, begun;
    double deadline = std::numeric_limits<double>::infinity();
    bool started = false;
    bool expired = false;
  };
  const auto start = [&]() -> cudaError_t {
    const sim::Turn turn;
    if (const sim::Fault* const fault = sim::call("kernel launch"))
      return static_cast<cudaError_t>(fault->cuda);
    if (rows < 1 || rows > 256) return cudaErrorInvalidConfiguration;
    sim::Work work{.name = std::string(name), .kind = sim::Count::kernel};
    const double limit_s = std::chrono::duration<double>(limit).count();
    work.on_launch = [=](sim::Work& w) {
      const auto at = std::make_shared<Waiting>();
      w.ready = [=] {
        if (!at->started) {
          at->started = true;
          at->deadline = sim::now_s() + limit_s;
          at->to_begin.resize(static_cast<std::size_t>(rows));
          std::iota(at->to_begin.begin(), at->to_begin.end(), 0);
        }
        if (!at->to_begin.empty()) {
          const auto i = sim::choose(at->to_begin.size());
          std::swap(at->to_begin[i], at->to_begin.back());
          body.begin(at->to_begin.back());
          at->begun.push_back(at->to_begin.back());
          at->to_begin.pop_back();
          sim::progress();
          return false;
        }
        std::erase_if(at->begun, [&](int row) { return body.done(row); });
        at->expired = !at->begun.empty() && sim::now_s() > at->deadline;
        return at->begun.empty() || at->expired;
      };
      w.run = [=] { body.end(at->expired); };
      w.until = [=] { return at->to_begin.empty() ? at->deadline + 1e-6 : sim::now_s(); };
      w.waits_for = [=] {
        std::string text = "waits for rows";
        for (const int row : at->begun) text += " " + std::to_string(row);
        return text;
      };
    };
    return sim::enqueue(stream.get(), std::move(work));
  };
  detail::cuda_check(start(), name);
  detail::cuda_check(cudaGetLastError(), name);
}

}  // namespace dpgather
