// Sends ids by MPI: run by mpirun with the simulation in place of NCCL, a process a rank.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include <dpgather/comm/mpi/environment.hpp>
#include <dpgather/comm/nccl/unique_id_mpi.hpp>

#include "sim/nccl.hpp"
#include "support/ranks.hpp"

namespace {

using dpgather::NcclUniqueId;
using dpgather::share_by_mpi;
using std::chrono::milliseconds;
using test::expect;

template <class E, class F>
void throws(const F& f, std::string_view part) {
  try {
    f();
  } catch (const E& error) {
    expect(std::string_view(error.what()).find(part) != std::string_view::npos, error.what());
    return;
  }
  throw std::logic_error("no error came");
}

void expect_same(const NcclUniqueId& id, MPI_Comm comm) {
  int size = 0;
  MPI_Comm_size(comm, &size);
  std::vector<NcclUniqueId> all(static_cast<std::size_t>(size));
  MPI_Allgather(&id, sizeof id, MPI_BYTE, all.data(), sizeof id, MPI_BYTE, comm);
  for (const auto& other : all)
    expect(other == id && !(id == NcclUniqueId{}), "ids differ, or are empty");
}

void run(int rank, int size) {
  const auto first = share_by_mpi(), second = share_by_mpi();
  expect_same(first, MPI_COMM_WORLD);
  expect(!(first == second), "two ids are one");

  const dpgather::mpi::OwnedComm half = dpgather::mpi::split(MPI_COMM_WORLD, rank % 2, -rank);
  expect_same(share_by_mpi(half.get()), half.get());

  throws<dpgather::InvalidArgument>(
      [] { static_cast<void>(share_by_mpi(MPI_COMM_WORLD, milliseconds(0))); }, "deadline is 0 ms");
  {
    const sim::nccl::WithOptions older({.version = NCCL_VERSION_CODE - 1});
    throws<dpgather::Error>([] { static_cast<void>(share_by_mpi()); },
                            "rank 0 could not make an id");
  }
  if (size == 1) return;
  // Rank 0 comes too late for the others, and ends what they left under way.
  if (rank == 0) {
    std::this_thread::sleep_for(milliseconds(500));
    static_cast<void>(share_by_mpi());
  } else {
    throws<dpgather::TimeoutError>(
        [] { static_cast<void>(share_by_mpi(MPI_COMM_WORLD, milliseconds(50))); },
        "no id from rank 0 within 50 ms");
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

}  // namespace

int main(int argc, char** argv) {
  const dpgather::MpiEnvironment environment(argc, argv);
  return environment.run([] {
    int rank = 0, size = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    run(rank, size);
    if (rank == 0) std::printf("ids shared by %d ranks\n", size);
    return 0;
  });
}
