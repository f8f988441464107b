// One rank of a ThreadComm on device memory: how it meets its peers, and what becomes of an error.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/device/join.hpp>
#include <dpgather/comm/thread/device/seat.hpp>
#include <dpgather/comm/thread/thread_rank.hpp>

namespace dpgather::detail {

/// Lives at one address, so that captured work can point to it.
struct DeviceRank final : CaptureListener {
  /// Launches a call's element work and returns the elements read: issue_call of the call's type.
  using Issue = std::uint64_t (*)(ThreadHub&, int, std::size_t, bool, const std::uint32_t*,
                                  CudaStream);

  DeviceRank(std::shared_ptr<ThreadHub> h, int r, int lanes) : base(std::move(h), r) {
    guard([&] { seats = take_seats(base, lanes); });
  }
  DeviceRank(const DeviceRank&) = delete;
  DeviceRank& operator=(const DeviceRank&) = delete;
  ~DeviceRank() {
    if (std::uncaught_exceptions() > base.exceptions)
      base.hub->fail(concat("rank ", base.rank, " ended with an exception"));
    free_waits_if_failed();
    if (!seats.empty()) seat().left.store(true);
  }

  void capture_abandoned() noexcept override {
    if (!seats.empty()) seat().abandoned.store(true);
  }
  void fail(std::string_view reason) {
    base.hub->fail(reason);
    free_waits();
  }

  ThreadRank base;
  std::vector<std::shared_ptr<DeviceSeat>> seats;
  CudaStream stream;  // of the pending calls
  std::vector<Issue> issues;

  std::vector<std::shared_ptr<const void>> unnoted;  // lanes of captures that nobody takes notes of
  std::exception_ptr mine;                           // this rank's error in the call that runs

  [[nodiscard]] DeviceSeat& seat() const { return seat_of(base.rank); }
  [[nodiscard]] DeviceSeat& seat_of(int peer) const {
    return *seats[static_cast<std::size_t>(peer % size())];
  }
  [[nodiscard]] int size() const { return base.hub->size(); }
  /// Null where there is nobody else.
  [[nodiscard]] const std::uint32_t* stop_word() const {
    return size() > 1 ? seats[0]->pool->stop_word(base.rank) : nullptr;
  }

  /// Some streams may wait for a rank that will not come.
  void free_waits() const {
    if (!seats.empty()) seats[0]->pool->free_waits();
  }
  void free_waits_if_failed() {
    try {
      base.hub->check({});
    } catch (const Error&) {
      free_waits();
    }
  }
  /// An error of the communicator frees the streams that wait for a rank that will not come.
  template <class F>
  void guard(const F& f) {
    try {
      f();
    } catch (...) {
      free_waits_if_failed();
      throw;
    }
  }

  /// Before the first rendezvous: what peers compare and wait for. An error is theirs as well.
  void arrive(std::optional<DeviceScope>& scope) {
    DeviceSeat& own = seat();
    used();
    mine = nullptr;
    own.refused.clear();
    own.failed.store(false);
    own.mode = CallMode::eager;
    auto& calls = base.hub->calls(base.rank);
    calls.assign(base.pending.begin(), base.pending.end());
    own.keep_numbers(calls);
    try {
      if (stream.capturing()) own.mode = CallMode::captured;
      scope.emplace(own.device);
      if (own.mode == CallMode::captured) {
        own.capture_and_stream = number_of_capture();
      } else if (size() > 1) {
        own.ready.record(stream);
      }
    } catch (const std::exception& error) {
      own.refused = error.what();
      mine = std::current_exception();
      const auto* const cuda = dynamic_cast<const CudaError*>(&error);
      if (cuda != nullptr && cuda->code() == cudaErrorStreamCaptureInvalidated)
        own.mode = CallMode::captured;
    }
  }
  /// A rank's number for a stream of a capture.
  std::uint64_t number_of_capture() {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    unsigned long long id = 0;
    cuda_check(cudaStreamGetCaptureInfo(stream.get(), &status, &id), "cudaStreamGetCaptureInfo");
    const std::pair key(id, stream.get());
    const auto known = std::find(captured_streams.rbegin(), captured_streams.rend(), key);
    if (known != captured_streams.rend())
      return static_cast<std::uint64_t>(captured_streams.rend() - known - 1);
    captured_streams.push_back(key);
    return captured_streams.size() - 1;
  }

  /// After the first rendezvous. Every rank sees the same, so either none throws or all do. A rank
  /// that cannot capture costs that capture alone.
  void agree_to_go_on(const ErrorContext& at) {
    std::string refusals;
    for (int r = 0; r < size(); ++r)
      if (const std::string& why = seat_of(r).refused; !why.empty())
        refusals += concat(refusals.empty() ? "" : "; ", "rank ", r, ": ", why);
    if (refusals.empty()) return;
    const bool captures = seat().mode == CallMode::captured;
    base.hub->rejoin();
    if (!captures) base.hub->fail(refusals);
    if (mine) std::rethrow_exception(mine);
    if (captures) throw GraphError(at, refusals);
    throw PeerError(at, refusals);
  }

  /// Does `f` unless a rank has failed in this call; then all go on to the last rendezvous, so that
  /// none leaves while another reads its buffers.
  template <class F>
  void attempt(const F& f) {
    for (const auto& theirs : seats)
      if (theirs->failed.load(std::memory_order_acquire)) return;
    try {
      f();
    } catch (const std::exception& error) {
      mine = std::current_exception();
      seat().failure = error.what();
      seat().failed.store(true, std::memory_order_release);
    }
  }
  // Where streams cannot be ordered any more, the host waits, so that no buffer goes while a rank
  // reads it; not for ever.
  void finish_stream() const {
    wait_while([&] { return cuda_pending(cudaStreamQuery(stream.get())); });
  }
  void finish_peers() const {
    for (const auto& theirs : seats) wait_while([&] { return theirs->done.pending(); });
  }
  /// After the last rendezvous: throws on all ranks if one has failed.
  template <class E>
  void throw_failures(const ErrorContext& at, bool for_good) {
    std::string text;
    for (int r = 0; r < size(); ++r) {
      const DeviceSeat& theirs = seat_of(r);
      if (theirs.failed.load(std::memory_order_acquire))
        text += concat(text.empty() ? "" : "; ", "rank ", r, ": ", theirs.failure);
    }
    if (text.empty()) return;
    base.hub->rejoin();
    if (for_good) base.hub->fail(text);
    if (mine) std::rethrow_exception(mine);
    throw E(at, text);
  }

 private:
  template <class F>
  void wait_while(const F& pending) const {
    const auto limit = std::chrono::steady_clock::now() + base.hub->deadline() / 2;
    while (pending() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  }

  std::vector<std::pair<unsigned long long, cudaStream_t>> captured_streams;  // by their numbers
};

}  // namespace dpgather::detail
