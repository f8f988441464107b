// Where the ranks of one process meet: a barrier that can fail, and what each rank is calling.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/thread/thread_call.hpp>
#include <dpgather/comm/wait.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/memory.hpp>

namespace dpgather {

/// Shared by the `size` handles of one ThreadComm. The barrier word packs phase, arrivals and a
/// failed bit, so that "everyone has entered" and "somebody failed" exclude each other: once a
/// phase is complete every rank goes through with it, hence no rank frees a buffer that a peer
/// still reads or adds to.
class ThreadHub {
 public:
  static constexpr int max_size = 4096;
  static constexpr std::int64_t max_staged_limit = std::int64_t{1} << 30;
  /// `staged_limit`: bytes, a multiple of 64; 0: calls that move anything meet twice. None: 512, or
  /// 8 kB where ranks share cores and a rendezvous costs several times as much (docs/performance.md).
  explicit ThreadHub(int size, std::chrono::milliseconds deadline = default_deadline,
                     std::optional<std::int64_t> staged_limit = {})
      : size_(size),
        deadline_(deadline),
        budget_(detail::SpinBudget::for_ranks(size)),
        staged_limit_(staged_limit.value_or(budget_.shares_cores() ? 8192 : 512)) {
    require(size >= 1 && size <= max_size, {.operation = "ThreadHub"}, "size is ", size,
            ", must be 1 to ", max_size);
    require(deadline.count() > 0, {.operation = "ThreadHub"}, "deadline is ", deadline.count(),
            " ms, must be positive");
    require(staged_limit_ >= 0 && staged_limit_ <= max_staged_limit && staged_limit_ % 64 == 0,
            {.operation = "ThreadHub"}, "staged_limit is ", staged_limit_,
            ", must be a multiple of 64 from 0 to ", max_staged_limit);
    seats_ = std::make_unique<Seat[]>(static_cast<std::size_t>(size));
  }

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] std::chrono::milliseconds deadline() const { return deadline_; }
  /// What `rank` calls at a rendezvous; two by turns, so that a rank which leaves one early and
  /// comes to the next does not change what others read yet.
  [[nodiscard]] std::vector<ThreadCall>& calls(int rank, std::uint32_t meeting = 0) {
    return seat(rank).calls[meeting % 2];
  }
  /// Bytes at a multiple of 64 for copies of what `rank` sends, by the same turns; `reserve` first.
  [[nodiscard]] std::byte* staging(int rank, std::uint32_t meeting) const {
    return seat(rank).staging.data() + meeting % 2 * static_cast<std::size_t>(staged_limit());
  }
  /// Calls for which a rank stages no more than this need one rendezvous: docs/communicators.md.
  [[nodiscard]] std::int64_t staged_limit() const { return staged_limit_; }
  void reserve(int rank) {
    constexpr std::size_t usual_group = 64;  // larger ones allocate at first
    for (auto& calls : seat(rank).calls) calls.reserve(usual_group);
    seat(rank).staging = Buffer<std::byte>(2 * staged_limit());
  }
  [[nodiscard]] std::shared_ptr<ThreadHub>& child(int rank) { return seat(rank).child; }

  void join(int rank) {
    require(rank >= 0 && rank < size_, {.operation = "ThreadComm"}, "rank is ", rank,
            ", must be 0 to ", size_ - 1);
    require(!seat(rank).joined.exchange(true), {.rank = rank, .operation = "ThreadComm"}, "rank ",
            rank, " of this hub is taken already");
  }
  /// A rank that leaves while others still need it fails them.
  void leave(int rank) {
    seat(rank).left.store(true);
    detail::wake_all(word_);
  }

  /// Entry: returns once all ranks are here, or throws on all that wait. Publishes calls(rank) to
  /// the peers.
  void enter(int rank, const ErrorContext& where) {
    Seat& mine = seat(rank);
    mine.entered.store(mine.entered.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::uint32_t word = word_.load();
    std::uint32_t next = 0;
    do {
      if (failed(word)) throw_failure(where);
      next = arrive(word);
    } while (!word_.compare_exchange_weak(word, next));
    if (phase(next) != phase(word)) return detail::wake_sleepers(word_, sleepers_);
    const bool done = detail::wait_word(
        word_, sleepers_, budget_, deadline_,
        [&](std::uint32_t now) { return phase(now) != phase(word) || failed(now); },
        [&, this] { find_leavers(mine, where); });
    if (!done) time_out(mine, phase(word), where);
    // A phase that completed is gone through with, even if the hub failed since.
    if (phase(word_.load()) == phase(word)) throw_failure(where);
  }

  /// All ranks are inside the same call: waits for them without a way out, as none can fail in
  /// there.
  void rejoin() {
    std::uint32_t word = word_.load();
    while (!word_.compare_exchange_weak(word, arrive(word))) {
    }
    if (phase(arrive(word)) != phase(word)) return detail::wake_sleepers(word_, sleepers_);
    while (!detail::wait_word(
        word_, sleepers_, budget_, deadline_,
        [&](std::uint32_t now) { return phase(now) != phase(word); }, [] {})) {
    }
  }

  /// The first reason stays; every rank that waits or calls later throws PeerError with it. When
  /// this returns the hub has failed, whichever rank was first, and those split off it: a rank that
  /// failed comes to none of them.
  void fail(std::string_view reason) {
    std::vector<std::weak_ptr<ThreadHub>> family;
    {
      const std::lock_guard lock(mutex_);
      if (!reason_.empty()) return;
      reason_ = reason.empty() ? std::string_view("aborted without a reason") : reason;
      word_.fetch_or(failed_bit);
      family.swap(family_);
    }
    detail::wake_all(word_);
    for (const auto& child : family)
      if (const auto hub = child.lock()) hub->fail_with_parent(reason);
  }
  /// `child` fails when this does.
  void adopt(const std::shared_ptr<ThreadHub>& child) {
    std::string reason;
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(family_, [](const auto& hub) { return hub.expired(); });
      if (reason_.empty()) family_.push_back(child);
      reason = reason_;
    }
    if (!reason.empty()) child->fail_with_parent(reason);
  }
  /// What else has to be done when the hub fails with its parent: no call of its own ranks may
  /// follow that would do it.
  void on_parent_failure(std::function<void()> what) {
    const std::lock_guard lock(mutex_);
    on_parent_failure_ = std::move(what);
  }
  void check(const ErrorContext& where) {
    if (failed(word_.load(std::memory_order_relaxed))) throw_failure(where);
  }

 private:
  struct alignas(128) Seat {
    std::vector<ThreadCall> calls[2];
    Buffer<std::byte> staging;
    std::shared_ptr<ThreadHub> child;
    std::atomic<std::uint64_t> entered{0};
    std::atomic<bool> joined{false};
    std::atomic<bool> left{false};
  };
  // bit 0: failed; bits 1-13: ranks arrived; bits 14-31: phase.
  static constexpr std::uint32_t failed_bit = 1, one_arrival = 2, arrivals_mask = 0x3ffe,
                                 one_phase = 0x4000;
  static bool failed(std::uint32_t word) { return (word & failed_bit) != 0; }
  static std::uint32_t phase(std::uint32_t word) { return word & ~(one_phase - 1); }
  [[nodiscard]] std::uint32_t arrive(std::uint32_t word) const {
    const std::uint32_t next = word + one_arrival;
    const bool complete = (next & arrivals_mask) == static_cast<std::uint32_t>(size_) * one_arrival;
    return complete ? (next & ~arrivals_mask) + one_phase : next;
  }
  [[nodiscard]] Seat& seat(int rank) const { return seats_[static_cast<std::size_t>(rank)]; }

  void fail_with_parent(std::string_view reason) {
    fail(reason);
    std::function<void()> what;
    {
      const std::lock_guard lock(mutex_);
      what = on_parent_failure_;
    }
    if (what) what();
  }
  [[noreturn]] void throw_failure(const ErrorContext& where) {
    const std::lock_guard lock(mutex_);
    throw PeerError(where, concat("communicator failed: ", reason_));
  }
  void find_leavers(const Seat& mine, const ErrorContext& where) {
    for (int peer = 0; peer < size_; ++peer)
      if (seat(peer).left.load() && seat(peer).entered.load() < mine.entered.load())
        fail(concat("rank ", peer, " left while others are in ", where.operation));
  }
  void time_out(const Seat& mine, std::uint32_t waited_phase, const ErrorContext& where) {
    std::string missing;
    for (int peer = 0; peer < size_; ++peer)
      if (seat(peer).entered.load() < mine.entered.load())
        missing += concat(missing.empty() ? "" : ", ", peer);
    const std::string reason = concat("no answer within ", deadline_.count(), " ms in ",
                                      where.operation, " from ranks ", missing);
    fail(reason);
    if (phase(word_.load()) == waited_phase) throw TimeoutError(where, reason);
  }

  const int size_;
  const std::chrono::milliseconds deadline_;
  const detail::SpinBudget budget_;
  const std::int64_t staged_limit_;
  std::unique_ptr<Seat[]> seats_;
  alignas(128) std::atomic<std::uint32_t> word_{0};
  alignas(128) std::atomic<std::uint32_t> sleepers_{0};
  std::mutex mutex_;
  std::string reason_;
  std::vector<std::weak_ptr<ThreadHub>> family_;  // hubs split off this one
  std::function<void()> on_parent_failure_;
};

}  // namespace dpgather
