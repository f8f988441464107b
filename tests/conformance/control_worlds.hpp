// The control planes that this build of the suite tests. `make(size, deadline)` is called once for
// all ranks of a run; the factory it returns is called on each rank and gives that rank's plane.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

#include <dpgather/comm/callable_control.hpp>
#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/shared_memory_control.hpp>

#include "conformance/support.hpp"

#ifdef CONFORMANCE_MPI
#include "conformance/mpi_world.hpp"
#else
#include <dpgather/comm/thread/thread_control.hpp>

#include "conformance/thread_world.hpp"
#endif

namespace conformance {

using Milliseconds = std::chrono::milliseconds;

/// A name that no other run has, the same on all ranks.
inline std::string segment_name() {
  static int runs = 0;
#ifdef CONFORMANCE_MPI
  int job = static_cast<int>(getpid());
  MPI_Bcast(&job, 1, MPI_INT, 0, MPI_COMM_WORLD);
#else
  const int job = static_cast<int>(getpid());
#endif
  return concat("/dpgather-conformance-", job, "-", ++runs);
}

struct SharedMemoryPlanes {
  static constexpr bool abort_reaches_peers = true;
  static auto make(int size, Milliseconds deadline) {
    return [=, name = segment_name()](int rank) {
      return std::make_unique<dpgather::SharedMemoryControl>(name, rank, size, deadline);
    };
  }
};

/// An engine's own all-gather: here one of our planes behind a function.
template <class Inner>
struct CallablePlanes {
  static constexpr bool abort_reaches_peers = false;
  static auto make(int size, Milliseconds deadline) {
    return [size, inner = Inner::make(size, deadline)](int rank) {
      auto all_gather = [plane = std::shared_ptr(inner(rank))](std::span<const std::byte> mine,
                                                               std::span<std::byte> all) {
        plane->post(mine);
        plane->wait(all);
      };
      return std::make_unique<dpgather::CallableControl<decltype(all_gather)>>(rank, size,
                                                                               all_gather);
    };
  }
};

#ifdef CONFORMANCE_MPI
inline std::vector<int> control_sizes() {
  return {dpgather::mpi::size_of(MPI_COMM_WORLD)};
}
template <class Body>
std::string run_control(int, const Body& body) {
  return run_processes(body);
}
struct MpiPlanes {
  static constexpr bool abort_reaches_peers = true;
  static auto make(int, Milliseconds deadline) {
    return [=](int) { return std::make_unique<dpgather::MpiControl>(MPI_COMM_WORLD, deadline); };
  }
};
#define CONFORMANCE_PLANES                                 \
  conformance::MpiPlanes, conformance::SharedMemoryPlanes, \
      conformance::CallablePlanes<conformance::MpiPlanes>
#else
inline std::vector<int> control_sizes() {
  return {1, 2, 3, 8};
}
template <class Body>
std::string run_control(int size, const Body& body) {
  return run_threads(size, body);
}
struct ThreadPlanes {
  static constexpr bool abort_reaches_peers = true;
  static auto make(int size, Milliseconds deadline) {
    return [=, board = std::make_shared<dpgather::ThreadControlBoard>(size)](int rank) {
      return std::make_unique<dpgather::ThreadControl>(board, rank, deadline);
    };
  }
};
#define CONFORMANCE_PLANES                                    \
  conformance::ThreadPlanes, conformance::SharedMemoryPlanes, \
      conformance::CallablePlanes<conformance::ThreadPlanes>
#endif

/// Runs `body(plane, rank)` on every rank at every size from `least` on; a rank whose body throws
/// destroys its plane while it unwinds.
template <class Planes, class Body>
void with_plane(const Body& body, int least = 1, Milliseconds deadline = std::chrono::seconds(60)) {
  for (const int size : control_sizes()) {
    if (size < least) continue;
    const auto factory = Planes::make(size, deadline);
    const std::string found = run_control(size, [&](Rank rank) {
      const auto plane = factory(rank.rank);
      static_assert(dpgather::ControlPlane<std::remove_cvref_t<decltype(*plane)>>);
      body(*plane, rank);
    });
    CHECK_MESSAGE(found.empty(), size, " ranks:", found);
  }
}

}  // namespace conformance

#ifdef CONFORMANCE_MPI
TYPE_TO_STRING(conformance::MpiPlanes);
TYPE_TO_STRING(conformance::CallablePlanes<conformance::MpiPlanes>);
#else
TYPE_TO_STRING(conformance::ThreadPlanes);
TYPE_TO_STRING(conformance::CallablePlanes<conformance::ThreadPlanes>);
#endif
TYPE_TO_STRING(conformance::SharedMemoryPlanes);
