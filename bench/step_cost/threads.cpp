// step_cost with ranks as threads.
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include <dpgather/comm/thread.hpp>

#include "command_line/option_kinds.hpp"
#include "compare.hpp"

int main(int argc, char** argv) {
  using namespace step_cost;
  try {
    std::string help;
    const auto options = parse_options(argc, argv, 0, help);
    if (!options) return std::fputs(help.c_str(), stdout), 0;
    command_line::check_writable("--json", options->json);
    const Sequence steps = make_sequence(*options);
    const auto board = std::make_shared<dpgather::ThreadControlBoard>(options->ranks);
    Report report;
    dpgather::run_ranks(options->ranks, [&](dpgather::ThreadComm<>& comm) {
      dpgather::ThreadControl control(board, comm.rank());
      Report own = compare(comm, control, *options, steps, [&] { comm.barrier({}); });
      if (comm.rank() == 0) report = std::move(own);
    });
    publish(report, options->json);
    return 0;
  } catch (const BadInput& error) {
    std::fprintf(stderr, "step_cost: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "step_cost: %s\n", error.what());
    return 1;
  }
}
