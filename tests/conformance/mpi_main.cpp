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

/// How a program ends whose rank 1 fails while rank 0 waits for it; see fatal.sh.
int fail_on_purpose(const dpgather::MpiEnvironment& environment, std::string_view how) {
  return environment.run([&] {
    dpgather::MpiComm<> comm;
    if (comm.rank() == 1) {
      if (how == "exit") std::_Exit(3);
      throw std::runtime_error("planned failure");
    }
    float x = 1;
    comm.all_reduce(&x, &x, 1, dpgather::HostStream());
    std::puts("rank 0 went on");
    return 0;
  });
}

}  // namespace

int main(int argc, char** argv) {
  const dpgather::MpiEnvironment environment(argc, argv);
  if (argc == 3 && std::string_view(argv[1]) == "--fail")
    return fail_on_purpose(environment, argv[2]);
  const int rank = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  std::ostringstream held_back;
  doctest::Context context(argc, argv);
  context.setOption("no-colors", true);
  if (rank != 0) {
    context.setCout(&held_back);
    static_cast<void>(!std::freopen("/dev/null", "w", stdout));  // seeds, the same on every rank
  }
  int result = context.run();
  if (rank != 0 && result != 0)
    std::cerr << "rank " << rank << ":\n" << held_back.str() << std::endl;
  int worst = result;
  MPI_Allreduce(&result, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return worst;
}
