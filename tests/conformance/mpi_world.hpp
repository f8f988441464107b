// Ranks are processes: MpiComm. The harness itself uses plain blocking MPI on MPI_COMM_WORLD.
#pragma once

#include <chrono>
#include <numeric>
#include <string>
#include <vector>

#include <dpgather/comm/mpi.hpp>

#include "conformance/support.hpp"

namespace conformance {

/// The texts of all ranks one after the other, on all ranks.
inline std::string join_texts(const std::string& mine) {
  const int size = dpgather::mpi::size_of(MPI_COMM_WORLD);
  const int length = static_cast<int>(mine.size());
  std::vector<int> lengths(static_cast<std::size_t>(size)), offsets(lengths.size());
  MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, MPI_COMM_WORLD);
  std::exclusive_scan(lengths.begin(), lengths.end(), offsets.begin(), 0);
  std::string all(static_cast<std::size_t>(offsets.back() + lengths.back()), ' ');
  MPI_Allgatherv(mine.data(), length, MPI_CHAR, all.data(), lengths.data(), offsets.data(),
                 MPI_CHAR, MPI_COMM_WORLD);
  return all;
}

/// Runs `body(Rank)` on every process and returns what the ranks found, the same text on all.
template <class Body>
std::string run_processes(const Body& body) {
  Findings findings;
  const int rank = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  try {
    body(Rank{rank, dpgather::mpi::size_of(MPI_COMM_WORLD), findings,
              [] { MPI_Barrier(MPI_COMM_WORLD); }});
  } catch (const Planned&) {
  } catch (const std::exception& error) {
    findings.expect(false, concat("threw ", error.what()));
  }
  return join_texts(findings_of(rank, findings));
}

template <dpgather::CheckLevel Checks>
struct MpiWorld {
  using Comm = dpgather::MpiComm<Checks>;
  static constexpr bool compares_calls = Checks == dpgather::CheckLevel::communicating;
  static std::vector<int> sizes() { return {dpgather::mpi::size_of(MPI_COMM_WORLD)}; }

  template <class Body>
  static std::string run(int, const Body& body,
                         std::chrono::milliseconds deadline = std::chrono::seconds(60)) {
    return run_processes([&](Rank rank) {
      Comm comm(MPI_COMM_WORLD, deadline);
      body(comm, rank);
    });
  }
};

}  // namespace conformance
