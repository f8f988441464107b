// The serving loop on GPUs that the simulation of CUDA and NCCL plays: needs tests/sim.
#pragma once

#include <exception>
#include <memory>

#include <dpgather/comm/thread.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/core/cuda/stream.hpp>

#include "device_platform.hpp"
#include "serve.hpp"
#include "serving_loop.hpp"
#include "sim/launch.hpp"
#include "sim/world.hpp"
#include "with_mode.hpp"

namespace serve_trace {

[[nodiscard]] inline sim::Schedule schedule_of(const Options& options) {
  switch (options.schedule) {
    case ScheduleChoice::random:
      return sim::Schedule::random;
    case ScheduleChoice::eager:
      return sim::Schedule::eager;
    case ScheduleChoice::late:
      break;
  }
  return sim::Schedule::late;
}

[[nodiscard]] inline Simulated simulated(const sim::Report& report) {
  Simulated sum{.leaks = report.leaks};
  for (const sim::RankReport& rank : report.ranks) {
    sum.calls += rank.calls;
    sum.kernels += rank[sim::Count::kernel];
    sum.collectives += rank[sim::Count::collective];
    sum.graph_launches += rank[sim::Count::launch];
  }
  return sum;
}

/// Ranks take `devices` GPUs in turn; `join(rank, control)` makes a rank's communicator, on all ranks
/// at once. Throws what sim::run throws: for a deadlock, and for memory that was misused, too.
template <class Join>
[[nodiscard]] Figures serve_simulated(const Options& options, const Trace& trace,
                                      const Hooks& hooks, int devices, const Join& join) {
  const int world = options.layout().world();
  const auto board = std::make_shared<dpgather::ThreadControlBoard>(world);
  Figures figures;
  const sim::Report report = sim::run(
      {.ranks = world, .devices = devices, .seed = options.seed, .schedule = schedule_of(options)},
      [&](int rank) {
        dpgather::detail::cuda_check(cudaSetDevice(rank % devices), "cudaSetDevice");
        dpgather::ThreadControl control(board, rank);
        const dpgather::OwnStream stream;
        auto comm = join(rank, control);
        try {
          with_mode<dpgather::PeerCommunicator<decltype(comm)>>(options, [&](auto mode) {
            ServingLoop loop(options, trace, comm, control, mode, hooks,
                             dpgather::CudaStream(stream));
            const Figures mine = loop.run();
            if (rank == 0) figures = mine;
          });
        } catch (const std::exception& error) {
          comm.abort(error.what());
          control.abort(error.what());
          throw;
        }
      });
  figures.simulated = simulated(report);
  return figures;
}

}  // namespace serve_trace
