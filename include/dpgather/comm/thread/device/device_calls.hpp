// How the stream of a rank on device memory waits for its peers' in a call: by events, or in a
// capture by flags.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/device/device_rank.hpp>
#include <dpgather/comm/thread/device/handshake.hpp>
#include <dpgather/comm/thread/device/meeting.hpp>

namespace dpgather::detail {

/// The pending calls of one rank, on their way.
class DeviceCalls {
 public:
  explicit DeviceCalls(DeviceRank& rank) : rank_(rank), hub_(*rank.base.hub) {}

  void run(const ErrorContext& at) {
    std::optional<DeviceScope> scope;
    rank_.arrive(scope);
    const bool captures = rank_.seat().mode == CallMode::captured;
    if (captures)
      meet_in_capture(rank_, at);
    else
      meet_eagerly(rank_, at);
    rank_.base.compare(at);
    rank_.agree_to_go_on(at);
    if (captures)
      capture(at);
    else
      run_eagerly(at);
  }

 private:
  [[nodiscard]] static bool orders_streams(const ThreadCall& call) {
    return call.signature.count > 0 || call.signature.op == Collective::barrier;
  }
  [[nodiscard]] static bool has_two_passes(const ThreadCall& call) {
    return call.signature.op == Collective::all_reduce && call.signature.count > 0;
  }
  [[nodiscard]] bool any(bool (*of)(const ThreadCall&)) const {
    return std::any_of(rank_.base.pending.begin(), rank_.base.pending.end(), of);
  }
  void enter(const ErrorContext& at) { hub_.enter(rank_.base.rank, at); }
  void issue(bool second, const std::uint32_t* stop = nullptr) {
    for (std::size_t i = 0; i < rank_.issues.size(); ++i)
      moved_ += rank_.issues[i](hub_, rank_.base.rank, i, second, stop, rank_.stream);
  }
  void order_after(OrderEvent DeviceSeat::*event) const {
    for (int i = 1; i < rank_.size(); ++i)
      (rank_.seat_of(rank_.base.rank + i).*event).order(rank_.stream);
  }

  void run_eagerly(const ErrorContext& at) {
    rank_.attempt([&, this] {
      if (exchanges_) order_after(&DeviceSeat::ready);
      issue(false);
      if (exchanges_ && two_passes_) rank_.seat().reduced.record(rank_.stream);
    });
    if (two_passes_) {
      enter(at);
      rank_.attempt([&, this] {
        if (exchanges_) order_after(&DeviceSeat::reduced);
        issue(true);
      });
    }
    rank_.attempt([&] {
      if (exchanges_) rank_.seat().done.record(rank_.stream);
    });
    if (rank_.mine) rank_.finish_stream();
    enter(at);
    // Also where a rank has failed: buffers may go, in stream order, once peers have read them.
    std::exception_ptr unordered;
    std::string why;
    try {
      if (exchanges_) order_after(&DeviceSeat::done);
    } catch (const std::exception& error) {
      unordered = std::current_exception();
      why = error.what();
      rank_.finish_peers();
    }
    rank_.throw_failures<PeerError>(at, true);
    if (unordered) {
      hub_.fail(concat("rank ", rank_.base.rank, " could not wait for its peers: ", why));
      std::rethrow_exception(unordered);
    }
    rank_.base.moved += moved_;
  }

  void capture(const ErrorContext& at) {
    FlagPool& pool = *rank_.seats[0]->pool;
    int lane = -1;
    if (exchanges_) {
      if (rank_.base.rank == 0) rank_.seat().lane = choose_lane(pool);
      enter(at);
      lane = rank_.seats[0]->lane;
      require<CapacityError>(
          lane >= 0, at, "all ", pool.lanes(),
          " sets of flags are held by live captures (one for each stream of each): drop graphs, or "
          "construct ThreadComm with more (ThreadDeviceOptions::captured_streams)");
    }
    rank_.attempt([&, this] {
      Handshake flags(pool, lane, rank_.base.rank, rank_.size(), rank_.stream);
      const std::uint32_t* const stop = exchanges_ ? pool.stop_word(rank_.base.rank) : nullptr;
      if (exchanges_) flags.ready();
      issue(false, stop);
      if (exchanges_ && two_passes_) flags.reduced();
      if (two_passes_) issue(true, stop);
      if (exchanges_) flags.done(two_passes_);
    });
    enter(at);
    rank_.throw_failures<GraphError>(at, false);
    rank_.stream.hold(rank_.base.lifeline);
    std::shared_ptr<const void> use = exchanges_ ? pool.use(lane) : nullptr;
    if (CaptureScope::current() == nullptr)
      rank_.unnoted.push_back(std::move(use));  // nobody says when that graph goes
    else
      rank_.stream.on_launch([rank = &rank_, moved = moved_, use] { rank->base.moved += moved; });
  }
  [[nodiscard]] int choose_lane(FlagPool& pool) const {
    std::vector<std::uint64_t> key;
    for (const auto& theirs : rank_.seats) key.push_back(theirs->capture_and_stream);
    return pool.choose(key);
  }

  DeviceRank& rank_;
  ThreadHub& hub_;
  std::uint64_t moved_ = 0;
  const bool exchanges_ = rank_.size() > 1 && any(orders_streams);
  const bool two_passes_ = any(has_two_passes);
};

/// Runs the pending calls (at least one) as one rendezvous.
inline void run_calls(DeviceRank& rank) {
  const ErrorContext at = rank.base.where(ThreadRank::operation(rank.base.pending));
  rank.guard([&] {
    rank.base.hub->check(at);
    DeviceCalls(rank).run(at);
  });
}

}  // namespace dpgather::detail
