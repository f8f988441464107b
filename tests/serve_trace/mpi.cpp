// The program under mpirun: ranks are processes.
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "command.hpp"

using namespace serve_trace;

namespace {

Outcome serve(int processes, const std::string& arguments) {
  return run_command("'" + environment("MPIRUN") + "' -np " + std::to_string(processes) + " '" +
                     environment("SERVE_TRACE") + "' --comm mpi " + arguments);
}

int times(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

const std::string small = " --requests 25 --rate 30 --chunk 512 --hidden 24 ";

}  // namespace

TEST_CASE("four processes serve without a wrong row in every mode, and one of them reports") {
  for (const std::string mode : {"max_len", "sum_len", "sum_len_v", "auto"})
    for (const std::string shape : {"--ranks 4", "--ranks 2 --attn-tp 2 --serve decode --retune"}) {
      const Outcome outcome = serve(4, small + shape + " --mode " + mode);
      CAPTURE(mode);
      CAPTURE(shape);
      CAPTURE(outcome.output);
      CHECK(outcome.exit_code == 0);
      CHECK(times(outcome.output, "Traffic ") == 1);
      CHECK(times(outcome.output, ": 0 wrong") == 1);
      CHECK(outcome.says("equal to the plan"));
    }
}

TEST_CASE("a number of processes that is not that of ranks is one error") {
  const Outcome outcome = serve(2, small + "--ranks 3");
  CAPTURE(outcome.output);
  CHECK(outcome.exit_code == 2);
  CHECK(times(outcome.output, "needs 3 processes, mpirun started 2") == 1);
}

TEST_CASE("a bad option is printed by one process, and all end with exit code 2") {
  const Outcome outcome = serve(3, "--ranks none");
  CAPTURE(outcome.output);
  CHECK(outcome.exit_code == 2);
  CHECK(times(outcome.output, "serve_trace: --ranks") == 1);
}
