// One run between the processes that mpirun started.
#pragma once

#include <dpgather/comm/mpi.hpp>

#include "common/pin.hpp"
#include "measure.hpp"

namespace agree_latency {

/// Collective over MPI_COMM_WORLD. On rank 0 `samples` are of all ranks afterwards.
inline void run_mpi(const Plan& plan, bool pinned, const Samples& samples) {
  using dpgather::mpi::check;
  dpgather::MpiControl control;
  const bench::Pinned here(control.rank(), pinned);
  const Barriers barriers{
      {"MPI_Barrier", [] { check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier"); }}};
  measure(control, barriers, plan, samples);
  const auto count = static_cast<int>(samples.count());
  // What a rank did not measure is zero with it.
  check(
      control.rank() == 0
          ? MPI_Reduce(MPI_IN_PLACE, samples.data(), count, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD)
          : MPI_Reduce(samples.data(), nullptr, count, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD),
      "MPI_Reduce");
}

}  // namespace agree_latency
