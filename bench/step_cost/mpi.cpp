// rule_cost with ranks as processes: mpirun -np RANKS rule_cost_mpi.
#include <dpgather/comm/mpi.hpp>

#include "rule_cost.hpp"

int main(int argc, char** argv) {
  CLI::App app("Rules on one sequence of steps, ranks as MPI processes");
  rule_cost::Options options;
  rule_cost::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  const dpgather::MpiEnvironment environment(argc, argv);
  dpgather::MpiComm<> comm;
  dpgather::MpiControl control;
  rule_cost::compare(comm, control, options);
}
