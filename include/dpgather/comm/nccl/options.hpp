// How an NcclComm waits and what it runs on.
#pragma once

#include <chrono>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather {

struct NcclOptions {
  /// How long a call, a `synchronize` or a guard may last before the communicator is aborted.
  std::chrono::milliseconds deadline = default_deadline;
  /// The GPU of this rank; negative: the one that is current when the communicator is made.
  int device = -1;
  /// true: NCCL itself waits inside its calls. That saves the thread NCCL starts for each group of a
  /// non-blocking communicator, but then neither a deadline nor an abort ends a call whose peer never
  /// comes, nor the constructor: only `synchronize` and guards.
  bool blocking = false;
  /// A thread that notices errors and overdue guards while this rank's thread waits elsewhere.
  bool watchdog = false;
  std::chrono::milliseconds watchdog_interval{20};

  void check(const ErrorContext& where) const {
    require(deadline.count() > 0, where, "deadline is ", deadline.count(), " ms, must be positive");
    require(watchdog_interval.count() > 0, where, "watchdog_interval is ",
            watchdog_interval.count(), " ms, must be positive");
  }
};

}  // namespace dpgather
