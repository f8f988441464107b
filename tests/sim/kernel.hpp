// Kernels as functions of the host: work on rows in random order, and grids with barriers.
#pragma once

#include <algorithm>
#include <barrier>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <vector_types.h>

#include "sim/world.hpp"

namespace sim {

/// A kernel that calls `per_row(row)` for rows [0, rows), in random order and in parts between which
/// other enabled work runs. `per_row` is copied: baked, when captured.
template <class F>
cudaError_t launch_kernel(cudaStream_t stream, std::string name, std::int64_t rows, F per_row) {
  if (rows <= 0) return cudaErrorInvalidConfiguration;
  Work work{.name = std::move(name), .kind = Count::kernel};
  work.on_launch = [rows, per_row](Work& w) {
    struct State {
      std::vector<std::int64_t> order;
      std::size_t next = 0;
      F body;
    };
    auto state = std::make_shared<State>(State{{}, 0, per_row});
    w.slice = [rows, state] {
      auto& order = state->order;
      if (order.empty()) {
        order.resize(static_cast<std::size_t>(rows));
        std::iota(order.begin(), order.end(), std::int64_t{0});
        for (std::size_t i = order.size(); i-- > 1;) std::swap(order[i], order[choose(i + 1)]);
      }
      const std::size_t least = order.size() / 4 + 1;
      const std::size_t end =
          std::min(order.size(), state->next + least + choose(order.size() - state->next + 1));
      for (; state->next < end; ++state->next) state->body(order[state->next]);
      return state->next == order.size();
    };
  };
  return enqueue(stream, std::move(work));
}

/// Where a thread of run_grid is.
struct Simt {
  dim3 thread_index, block_index, block_size, grid_size;
  std::barrier<>* barrier = nullptr;
};
inline Simt& simt() {
  thread_local Simt of_thread;
  return of_thread;
}
/// `__syncthreads()`.
inline void sync_threads() {
  simt().barrier->arrive_and_wait();
}

/// Runs `f()` for each thread of each block, as device work does: block after block in random order,
/// a real thread for each of a block's, so that sanitizers see a barrier that is missing. Threads that
/// return early take no part in later barriers.
template <class F>
void run_grid(dim3 grid, dim3 block, const F& f) {
  const auto at = [](unsigned i, dim3 size) {
    return dim3{i % size.x, i / size.x % size.y, i / (size.x * size.y)};
  };
  std::vector<unsigned> blocks(grid.x * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), 0U);
  for (std::size_t i = blocks.size(); i-- > 1;) std::swap(blocks[i], blocks[choose(i + 1)]);
  for (const unsigned b : blocks) {
    const unsigned threads = block.x * block.y * block.z;
    std::barrier barrier(static_cast<std::ptrdiff_t>(threads));
    std::vector<std::thread> running;
    for (unsigned t = 0; t < threads; ++t)
      running.emplace_back([&, t] {
        simt() = Simt{at(t, block), at(b, grid), block, grid, &barrier};
        f();
        barrier.arrive_and_drop();
      });
    for (auto& thread : running) thread.join();
  }
}

}  // namespace sim
