// The first rendezvous of a call on device memory.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>

#include <dpgather/comm/thread/device/device_rank.hpp>

namespace dpgather::detail {

/// Ranks come to an eager call as to one on host memory. What captures missed of one another is
/// forgotten then.
inline void meet_eagerly(DeviceRank& rank, const ErrorContext& at) {
  DeviceSeat& own = rank.seat();
  own.eager_calls.fetch_add(1);
  rank.base.hub->enter(rank.base.rank, at);
  std::uint64_t most = 0;
  for (const auto& theirs : rank.seats) most = std::max(most, theirs->captured_calls.load());
  own.captured_calls.store(most);
  own.abandoned.store(false);
}

/// Ranks come to a captured call apart from the hub, whose barrier a rank cannot back out of: one
/// whose capture has ended with an exception will not come, which is no reason for the communicator
/// to fail. All that come to the rest of the call have met here.
inline void meet_in_capture(DeviceRank& rank, const ErrorContext& at) {
  ThreadHub& hub = *rank.base.hub;
  DeviceSeat& own = rank.seat();
  require<GraphError>(!own.abandoned.load(), at,
                      "a capture of this rank ended with an exception; captured calls need an "
                      "eager one, of all ranks, before they go on");
  const std::uint64_t number = own.captured_calls.fetch_add(1) + 1;
  const auto limit = std::chrono::steady_clock::now() + hub.deadline();
  const auto give_up = [&]<class E>(E error) {
    hub.fail(error.detail());
    throw error;
  };
  for (int r = 0; r < rank.size(); ++r) {
    const DeviceSeat& theirs = rank.seat_of(r);
    for (int i = 0; theirs.captured_calls.load(std::memory_order_acquire) < number; ++i) {
      hub.check(at);
      // Seen as behind before it is seen to have abandoned: it did so before it came here.
      if (theirs.abandoned.load() && theirs.captured_calls.load() < number)
        throw GraphError(at, concat("the capture of rank ", r, " ended with an exception"));
      if (theirs.eager_calls.load() > own.eager_calls.load())
        give_up(MismatchError(at, concat("rank ", rank.base.rank, " captures this call, rank ", r,
                                         " does not; a call is captured by all ranks or by none")));
      if (theirs.left.load())
        give_up(PeerError(at, concat("rank ", r, " left while others are in ", at.operation)));
      if (std::chrono::steady_clock::now() >= limit)
        give_up(TimeoutError(at, concat("no answer within ", hub.deadline().count(), " ms in ",
                                        at.operation, " from rank ", r)));
      if (i < 64)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
}

}  // namespace dpgather::detail
