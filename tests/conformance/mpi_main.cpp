// doctest on every rank. Rank 0 prints; another rank only when it failed. The exit code is the
// worst of all.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include <doctest/doctest.h>

#include <dpgather/comm/mpi.hpp>

namespace {

/// What a program does whose rank 1 fails while rank 0 waits for it; see fatal.sh.
int wait_for_a_failing_rank(std::string_view how) {
  dpgather::MpiComm<> comm;
  if (comm.rank() == 1) {
    if (how == "exit") std::_Exit(3);
    throw std::runtime_error("planned failure");
  }
  float x = 1;
  comm.all_reduce(&x, &x, 1, dpgather::HostStream());
  std::puts("rank 0 went on");
  return 0;
}

int run_tests(int argc, char** argv) {
  const int rank = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  std::ostringstream held_back;
  doctest::Context context(argc, argv);
  context.setOption("no-colors", true);
  if (rank != 0) {
    context.setCout(&held_back);
    static_cast<void>(!std::freopen("/dev/null", "w", stdout));  // seeds, the same on every rank
  }
  const int result = context.run();
  if (rank != 0 && result != 0)
    std::cerr << "rank " << rank << ":\n" << held_back.str() << std::endl;
  int worst = result;
  MPI_Allreduce(&result, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc == 3 && std::string_view(argv[1]) == "--fail" ? argv[2] : "";
  if (how == "unwind") {
    try {
      const dpgather::MpiEnvironment environment(argc, argv);
      return wait_for_a_failing_rank(how);
    } catch (const std::exception&) {
      std::puts("got past MpiEnvironment");
      return 0;
    }
  }
  const dpgather::MpiEnvironment environment(argc, argv);
  return environment.run(
      [&] { return how.empty() ? run_tests(argc, argv) : wait_for_a_failing_rank(how); });
}
