// step_cost with ranks as processes: mpirun -np RANKS step_cost_mpi.
#include <cstdio>
#include <exception>
#include <string>

#include <dpgather/comm/mpi.hpp>

#include "command_line/option_kinds.hpp"
#include "compare.hpp"

int main(int argc, char** argv) {
  using namespace step_cost;
  const dpgather::MpiEnvironment environment(argc, argv);
  const int rank = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  try {
    std::string help;
    const auto options = parse_options(argc, argv, dpgather::mpi::size_of(MPI_COMM_WORLD), help);
    if (!options) return rank == 0 ? std::fputs(help.c_str(), stdout), 0 : 0;
    command_line::check_writable("--json", options->json);  // by all: they find the same
    const Sequence steps = make_sequence(*options);
    dpgather::MpiComm<> comm;
    dpgather::MpiControl control;
    const Report report = compare(comm, control, *options, steps, [] {
      dpgather::mpi::check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
    });
    if (rank == 0) publish(report, options->json);
    return 0;
  } catch (const BadInput& error) {
    if (rank == 0) std::fprintf(stderr, "step_cost_mpi: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "step_cost_mpi: rank %d: %s\n", rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}
