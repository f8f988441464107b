// Ranks on device memory: NcclComm and ThreadComm<DeviceMemory>, in a harness that simulates devices
// or has real ones.
//
// A harness has `run(size, make, body)`: one or more times `body(Rank, made)` on `size` threads, with
// what a `make()` before them gave; all findings. It makes a device current for each rank, its own
// (`one_each`) or a shared one. `simulated`, `nccl_sizes()`, `thread_sizes()`. `soon` is a deadline
// short to wait for and long enough to make a communicator.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#ifdef CONFORMANCE_NCCL
#include <dpgather/comm/nccl.hpp>
#endif
#include <dpgather/comm/thread_device.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/graph/cuda/cuda_graphs.hpp>

#include "conformance/support.hpp"
#include "support/mirrored_cuda.hpp"

namespace conformance {

struct DeviceWorld {
  using Graphs = dpgather::CudaGraphs;
  static constexpr bool keeps_buffers = false;
};

/// A rank that throws destroys its communicator while it unwinds, before its streams.
template <class Harness, dpgather::CheckLevel Checks>
struct ThreadDeviceWorld : DeviceWorld {
  using Comm = dpgather::ThreadComm<dpgather::DeviceMemory, Checks>;
  static constexpr bool compares_calls = true;
  static constexpr bool mismatches_end = false;
  static constexpr bool failures_travel = true;
  static constexpr std::chrono::milliseconds soon{300};
  static std::vector<int> sizes() { return Harness::thread_sizes(); }

  template <class Body>
  static std::string run(int size, const Body& body, std::chrono::milliseconds deadline) {
    return Harness::run(
        size, false, [&] { return std::make_shared<dpgather::ThreadHub>(size, deadline); },
        [&](const Rank& rank, const std::shared_ptr<dpgather::ThreadHub>& hub) {
          const dpgather::OwnStream stream, other;
          Comm comm(hub, rank.rank);
          body(comm, Place<dpgather::CudaStream>{rank, stream.get(), other.get()});
        });
  }
};

#ifdef CONFORMANCE_NCCL
template <class Harness, dpgather::CheckLevel Checks>
struct NcclWorld : DeviceWorld {
  using Comm = dpgather::NcclComm<dpgather::DeviceMemory, Checks>;
  static constexpr bool compares_calls = false;
  static constexpr bool mismatches_end = Harness::simulated;  // really they are undefined
  static constexpr bool failures_travel = false;
  static constexpr std::chrono::milliseconds soon = Harness::soon;
  static std::vector<int> sizes() { return Harness::nccl_sizes(); }

  template <class Body>
  static std::string run(int size, const Body& body, std::chrono::milliseconds deadline) {
    return Harness::run(
        size, true, [] { return dpgather::NcclUniqueId::create(); },
        [&](const Rank& rank, const dpgather::NcclUniqueId& id) {
          const dpgather::OwnStream stream, other;
          Comm comm(id, rank.rank, rank.size, {.deadline = deadline});
          body(comm, Place<dpgather::CudaStream>{rank, stream.get(), other.get()});
        });
  }
};
#endif

}  // namespace conformance
