// rule_cost with ranks as threads.
#include "rule_cost.hpp"

#include <memory>

int main(int argc, char** argv) {
  CLI::App app("Rules on one sequence of steps, ranks as threads");
  rule_cost::Options options;
  app.add_option("--ranks", options.ranks)->check(CLI::Range(1, 64));
  rule_cost::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  const auto board = std::make_shared<dpgather::ThreadControlBoard>(options.ranks);
  dpgather::run_ranks(options.ranks, [&](dpgather::ThreadComm<>& comm) {
    dpgather::ThreadControl control(board, comm.rank());
    rule_cost::compare(comm, control, options);
  });
}
