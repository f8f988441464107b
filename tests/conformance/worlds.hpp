// The communicators that this build of the suite tests.
#pragma once

#include <doctest/doctest.h>

#include <dpgather/core/config.hpp>

#include "conformance/guarded.hpp"
#include "conformance/support.hpp"

#ifdef CONFORMANCE_MPI
#include "conformance/mpi_world.hpp"
#define CONFORMANCE_WORLDS                                    \
  conformance::MpiWorld<dpgather::CheckLevel::communicating>, \
      conformance::MpiWorld<dpgather::CheckLevel::local>
TYPE_TO_STRING(conformance::MpiWorld<dpgather::CheckLevel::communicating>);
TYPE_TO_STRING(conformance::MpiWorld<dpgather::CheckLevel::local>);
#elif defined(CONFORMANCE_GPU)
#include "gpu/conformance.hpp"
#elif defined(CONFORMANCE_SIM)
#include "conformance/sim_worlds.hpp"
namespace conformance {
using ThreadDeviceSim = ThreadDeviceWorld<SimHarness, dpgather::CheckLevel::communicating>;
}
TYPE_TO_STRING(conformance::ThreadDeviceSim);
#ifdef CONFORMANCE_NCCL
namespace conformance {
using NcclSim = NcclWorld<SimHarness, dpgather::CheckLevel::communicating>;
}
TYPE_TO_STRING(conformance::NcclSim);
#define CONFORMANCE_WORLDS conformance::ThreadDeviceSim, conformance::NcclSim
#else
#define CONFORMANCE_WORLDS conformance::ThreadDeviceSim
#endif
#else
#include "conformance/thread_world.hpp"
// ThreadComm compares calls at every level, so one level shows all it does.
#define CONFORMANCE_WORLDS conformance::ThreadWorld<dpgather::CheckLevel::communicating>
TYPE_TO_STRING(conformance::ThreadWorld<dpgather::CheckLevel::communicating>);
#endif

namespace conformance {

/// Runs `body(comm, rank)` at every size of the world, which must be at least `least`, and asserts
/// that no rank found anything.
template <class World, class Body>
void at_every_size(const Body& body, int least = 1,
                   std::chrono::milliseconds deadline = std::chrono::seconds(60)) {
  for (const int size : World::sizes()) {
    if (size < least) continue;
    const std::string found = World::run(size, body, deadline);
    CHECK_MESSAGE(found.empty(), size, " ranks:", found);
  }
}

}  // namespace conformance
