// Ranks are processes: MpiComm. The harness itself uses plain MPI on MPI_COMM_WORLD.
#pragma once

#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <dpgather/comm/mpi.hpp>
#include <dpgather/graph/host_graphs.hpp>

#include "conformance/support.hpp"

namespace conformance {

/// Ends a call of the harness without taking cores from ranks that work; throws after a minute.
inline void wait_politely(MPI_Request& request, std::string_view what) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (int done = 0; done == 0;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done == 0 && std::chrono::steady_clock::now() > limit)
      throw std::runtime_error(concat("not all ranks reached ", what));
    if (done == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

/// The texts of all ranks one after the other, on all ranks.
inline std::string join_texts(const std::string& mine) {
  const int size = dpgather::mpi::size_of(MPI_COMM_WORLD);
  const int length = static_cast<int>(mine.size());
  std::vector<int> lengths(static_cast<std::size_t>(size)), offsets(lengths.size());
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Iallgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, MPI_COMM_WORLD, &request);
  wait_politely(request, "the end of a test");
  std::exclusive_scan(lengths.begin(), lengths.end(), offsets.begin(), 0);
  std::string all(static_cast<std::size_t>(offsets.back() + lengths.back()), ' ');
  MPI_Iallgatherv(mine.data(), length, MPI_CHAR, all.data(), lengths.data(), offsets.data(),
                  MPI_CHAR, MPI_COMM_WORLD, &request);
  wait_politely(request, "the end of a test");
  return all;
}

/// Runs `body(Rank)` on every process and returns what the ranks found, the same text on all.
template <class Body>
std::string run_processes(const Body& body) {
  Findings findings;
  const int rank = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  // Barriers have a communicator of their own: a rank that fails may not come to one.
  auto barriers = dpgather::mpi::duplicate(MPI_COMM_WORLD);
  const auto barrier = [&] {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ibarrier(barriers.get(), &request);
    wait_politely(request, "a barrier of the test");
  };
  try {
    body(Rank{rank, dpgather::mpi::size_of(MPI_COMM_WORLD), findings, barrier});
  } catch (const Planned&) {
  } catch (const std::exception& error) {
    findings.expect(false, concat("threw ", error.what()));
    static_cast<void>(barriers.release());  // a barrier may be under way for good
  }
  return join_texts(findings_of(rank, findings));
}

template <dpgather::CheckLevel Checks>
struct MpiWorld {
  using Comm = dpgather::MpiComm<Checks>;
  using Graphs = dpgather::HostGraphs;
  static constexpr bool compares_calls = Checks == dpgather::CheckLevel::communicating;
  static constexpr bool mismatches_end = false;
  static constexpr bool failures_travel = true;
  static constexpr bool keeps_buffers = true;  // MPI cannot cancel a collective
  static constexpr std::chrono::milliseconds soon{300};
  static std::vector<int> sizes() { return {dpgather::mpi::size_of(MPI_COMM_WORLD)}; }

  template <class Body>
  static std::string run(int, const Body& body,
                         std::chrono::milliseconds deadline = std::chrono::seconds(60)) {
    return run_processes([&](Rank rank) {
      Comm comm(MPI_COMM_WORLD, deadline);
      body(comm, Place<dpgather::HostStream>{rank});
    });
  }
};

}  // namespace conformance
