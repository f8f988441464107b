// Ranks on real GPUs: as many as one likes over ThreadComm, as many as GPUs over NCCL. With
// DPGATHER_GPU_SIMULATED on simulated ones, so that the tests themselves are run before a GPU runs
// them.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#ifdef DPGATHER_GPU_SIMULATED
#include <dpgather/cuda.hpp>

#include "sim/launch.hpp"
#include "sim/world.hpp"
#else
#include <dpgather/cuda.cuh>
#endif
#include <dpgather/dpgather.hpp>

#include "gpu/gpus.hpp"
#include "support/device_ranks.hpp"

namespace gpu {

using namespace dpgather;
using Threads = ThreadComm<DeviceMemory>;
using Nccl = NcclComm<>;

/// `prepare()`, then `f(rank)` on a thread each; in the simulation once a schedule.
template <class Prepare, class F>
void run_threads(int ranks, const Prepare& prepare, const F& f) {
#ifdef DPGATHER_GPU_SIMULATED
  for (const auto schedule : {sim::Schedule::late, sim::Schedule::random}) {
    prepare();
    sim::run({.ranks = ranks, .devices = devices(), .schedule = schedule}, f);
    for (const std::string& leak : sim::last_report().leaks) test::expect(false, leak);
  }
#else
  prepare();
  launch_blocks() = 16;  // many ranks share a GPU, and strides are taken
  run_ranks(ranks, f);
#endif
}

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
  const auto world = [&] {
    if constexpr (std::same_as<Comm, Threads>)
      return std::make_shared<test::DeviceWorld<Comm>>(layout);
    else
      return std::make_shared<test::DeviceWorld<Comm>>(
          layout, NcclOptions{.deadline = std::chrono::minutes(1)});
  };
  std::shared_ptr<test::DeviceWorld<Comm>> shared;
  run_threads(
      layout.world(), [&] { shared = world(); },
      [&](int rank) {
        test::run_device_rank(*shared, rank, std::min(devices(), layout.world()), f);
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
