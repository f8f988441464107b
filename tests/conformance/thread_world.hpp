// Ranks are threads: ThreadComm.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <dpgather/comm/thread/thread_comm.hpp>
#include <dpgather/graph/host_graphs.hpp>

#include "conformance/barrier.hpp"
#include "conformance/support.hpp"

namespace conformance {

/// Runs `body(Rank)` in `size` threads and returns what the ranks found.
template <class Body>
std::string run_threads(int size, const Body& body) {
  std::vector<Findings> findings(static_cast<std::size_t>(size));
  Barrier all(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      Findings& mine = findings[static_cast<std::size_t>(rank)];
      try {
        body(Rank{rank, size, mine, [&all] { all.arrive_and_wait(); }});
      } catch (const Planned&) {
      } catch (const std::exception& error) {
        mine.expect(false, concat("threw ", error.what()));
      }
      all.arrive_and_drop();
    });
  std::string text;
  for (int rank = 0; rank < size; ++rank) {
    threads[static_cast<std::size_t>(rank)].join();
    text += findings_of(rank, findings[static_cast<std::size_t>(rank)]);
  }
  return text;
}

template <dpgather::CheckLevel Checks>
struct ThreadWorld {
  using Comm = dpgather::ThreadComm<dpgather::HostMemory, Checks>;
  using Graphs = dpgather::HostGraphs;
  static constexpr bool compares_calls = true;
  static constexpr bool mismatches_end = false;
  static constexpr bool failures_travel = true;
  static constexpr bool keeps_buffers = false;
  static constexpr std::chrono::milliseconds soon{300};
  static std::vector<int> sizes() { return {1, 2, 3, 8}; }

  /// A rank whose body throws destroys its communicator while it unwinds.
  template <class Body>
  static std::string run(int size, const Body& body,
                         std::chrono::milliseconds deadline = std::chrono::seconds(60)) {
    const auto hub = std::make_shared<dpgather::ThreadHub>(size, deadline);
    return run_threads(size, [&](Rank rank) {
      Comm comm(hub, rank.rank);
      body(comm, Place<dpgather::HostStream>{rank});
    });
  }
};

}  // namespace conformance
