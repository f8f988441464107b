// Ranks on real GPUs: as many as one likes over ThreadComm, as many as GPUs over NCCL.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <exception>
#include <vector>

#include <dpgather/cuda.cuh>
#include <dpgather/dpgather.hpp>

#include "gpu/gpus.hpp"
#include "support/device_ranks.hpp"

namespace gpu {

using namespace dpgather;
using Threads = ThreadComm<DeviceMemory>;
using Nccl = NcclComm<>;

/// Ranks that tests of `Comm` run at, one after the other.
template <class Comm>
std::vector<int> sizes() {
  if (std::same_as<Comm, Threads>) return {1, 2, 4, 8};
  std::vector<int> found;
  for (const int size : {1, 2, 4, 8})
    if (size <= devices()) found.push_back(size);
  return found;
}

/// NCCL wants a GPU a rank.
template <class Comm>
bool fits(int ranks) {
  return std::same_as<Comm, Threads> || ranks <= devices();
}

/// `f(test::RankOf<Comm>&)` on every rank, on GPUs in turn; the error of the rank that failed first.
template <class Comm, class F>
void on_ranks(const DpLayout& layout, const F& f) {
  launch_blocks() = 16;  // many ranks share a GPU, and strides are taken
  const auto world = [&] {
    if constexpr (std::same_as<Comm, Threads>)
      return test::DeviceWorld<Comm>(layout);
    else
      return test::DeviceWorld<Comm>(layout, {.deadline = std::chrono::minutes(1)});
  }();
  run_ranks(layout.world(), [&](int rank) {
    test::run_device_rank(world, rank, std::min(devices(), layout.world()), f);
  });
}

/// `f()`. An error frees peers while this rank's buffers are still there: freeing one waits for the
/// device, and so for streams that wait for this rank.
template <class Comm, class F>
void abort_on_error(Comm& comm, const F& f) {
  try {
    f();
  } catch (const std::exception& error) {
    comm.abort(error.what());
    throw;
  }
}

}  // namespace gpu
