// What an IpcComm can be told.
#pragma once

#include <chrono>
#include <cstdint>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace dpgather {

struct IpcOptions {
  /// How long a barrier waits for a peer, on the device; and how long the host waits for processes
  /// to come to a collective construction or to its end. Shorter than the deadline of the
  /// communicator below, or that one gives up first.
  std::chrono::milliseconds deadline = default_deadline;
  /// Number of the last barrier before the first: for tests of what happens when it wraps around.
  std::uint32_t first_epoch = 0;
  /// What tells hosts apart, in place of what the system says. 0: the system's.
  std::int64_t host = 0;
};

}  // namespace dpgather
