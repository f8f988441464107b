// A board on which each rank of one host posts its record; lies in plain or shared memory.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include <signal.h>
#include <unistd.h>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/wait.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather::detail {

/// Fixed layout, no pointers: processes map it at different addresses. Records are double-buffered,
/// which is enough: a rank posts round n + 1 only after it has waited for round n, so nobody still
/// reads round n - 1.
class Board {
 public:
  static constexpr std::size_t max_record = 1024;
  static constexpr int max_ranks = 4096;

  struct alignas(128) Seat {
    std::atomic<std::uint32_t> posted{0};
    std::atomic<std::uint32_t> left{0};
    std::atomic<std::int32_t> process{0};
    std::uint32_t bytes[2] = {0, 0};
    std::byte record[2][max_record];
  };

  [[nodiscard]] static std::size_t bytes(int size) {
    return sizeof(Board) + static_cast<std::size_t>(size) * sizeof(Seat);
  }
  /// Builds a board of `size` seats in `bytes(size)` of memory aligned to 128.
  static Board* create(void* memory, int size) {
    auto* board = new (memory) Board(size);
    for (int rank = 0; rank < size; ++rank) new (&board->seat(rank)) Seat;
    return board;
  }

  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] Seat& seat(int rank) { return reinterpret_cast<Seat*>(this + 1)[rank]; }

  /// The first reason stays. When this returns the board has failed, whichever rank was first.
  void fail(std::string_view reason) {
    std::uint32_t expected = 0;
    if (!failing_.compare_exchange_strong(expected, 1)) {
      // Bounded: the first may have been killed while it wrote.
      for (int ms = 0; failed_.load(std::memory_order_acquire) == 0 && ms < 1000; ++ms)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else {
      reason_[reason.copy(reason_, sizeof(reason_) - 1)] = '\0';
    }
    failed_.store(1, std::memory_order_release);
    wake_all(arrivals_);
  }
  void check(const ErrorContext& where) const {
    if (failed_.load(std::memory_order_acquire) != 0)
      throw PeerError(where, concat("control plane failed: ", std::string_view(reason_)));
  }
  void leave(int rank) {
    seat(rank).left.store(1);
    wake_all(arrivals_);
  }

  void post(int rank, std::uint32_t round, std::span<const std::byte> record) {
    Seat& mine = seat(rank);
    std::memcpy(mine.record[round % 2], record.data(), record.size());
    mine.bytes[round % 2] = static_cast<std::uint32_t>(record.size());
    mine.posted.store(round + 1, std::memory_order_release);
    // Everyone's round n precedes anyone's round n + 1, so this counter completes round n at (n +
    // 1) * size.
    const std::uint32_t arrived = arrivals_.fetch_add(1) + 1;
    if (arrived == complete(round)) wake_sleepers(arrivals_, sleepers_);
  }

  void wait(int rank, std::uint32_t round, std::span<std::byte> all,
            std::chrono::milliseconds deadline, const ErrorContext& where) {
    const auto done = [&](std::uint32_t arrived) {
      return static_cast<std::int32_t>(arrived - complete(round)) >= 0;
    };
    const bool in_time = wait_word(
        arrivals_, sleepers_, SpinBudget::for_ranks(size_),
        std::chrono::steady_clock::now() + deadline,
        [&](std::uint32_t arrived) {
          return done(arrived) || failed_.load(std::memory_order_acquire) != 0;
        },
        [&] { find_missing(round); });
    if (!in_time) {
      const std::string reason =
          concat("no record within ", deadline.count(), " ms from ranks ", missing(round));
      fail(reason);
      throw TimeoutError(where, reason);
    }
    if (!done(arrivals_.load())) check(where);
    const std::size_t each = all.size() / static_cast<std::size_t>(size_);
    for (int peer = 0; peer < size_; ++peer) {
      const Seat& theirs = seat(peer);
      require<DivergenceError>(theirs.bytes[round % 2] == each, where, "rank ", peer,
                               " posted a record of ", theirs.bytes[round % 2], " bytes, rank ",
                               rank, " one of ", each);
      std::memcpy(all.data() + static_cast<std::size_t>(peer) * each, theirs.record[round % 2],
                  each);
    }
  }

 private:
  explicit Board(int size) : size_(size) {}
  [[nodiscard]] std::uint32_t complete(std::uint32_t round) const {
    return (round + 1) * static_cast<std::uint32_t>(size_);
  }
  /// A rank that has not posted `round` and never will: it left, or its process is gone.
  void find_missing(std::uint32_t round) {
    for (int peer = 0; peer < size_; ++peer) {
      Seat& theirs = seat(peer);
      if (theirs.posted.load() == round + 1) continue;
      const auto process = theirs.process.load();
      if (theirs.left.load() != 0)
        fail(concat("rank ", peer, " left"));
      else if (process != 0 && kill(process, 0) != 0 && errno == ESRCH)
        fail(concat("rank ", peer, " (process ", process, ") is gone"));
    }
  }
  [[nodiscard]] std::string missing(std::uint32_t round) {
    std::string ranks;
    for (int peer = 0; peer < size_; ++peer)
      if (seat(peer).posted.load() != round + 1) ranks += concat(ranks.empty() ? "" : ", ", peer);
    return ranks;
  }

  alignas(128) std::atomic<std::uint32_t> arrivals_{0};
  alignas(128) std::atomic<std::uint32_t> sleepers_{0};
  alignas(128) std::atomic<std::uint32_t> failing_{0};
  std::atomic<std::uint32_t> failed_{0};
  int size_;
  char reason_[400] = {};
};

/// What the two control planes on a board share: rounds, checks, departure.
class BoardSeat {
 public:
  BoardSeat(Board& board, int rank, std::chrono::milliseconds deadline, std::string_view operation)
      : board_(board), rank_(rank), deadline_(deadline), operation_(operation) {}

  void post(std::span<const std::byte> mine) {
    require(!mine.empty() && mine.size() <= Board::max_record, where(), "record has ", mine.size(),
            " bytes, must have 1 to ", Board::max_record);
    require(!posted_, where(), "post was called twice without a wait");
    board_.check(where());
    board_.post(rank_, round_, mine);
    posted_ = true;
    bytes_ = mine.size();
  }
  void wait(std::span<std::byte> all) {
    require(posted_, where(), "wait was called without a post");
    require(all.size() == bytes_ * static_cast<std::size_t>(board_.size()), where(), "room for ",
            all.size(), " bytes given, ", board_.size(), " records of ", bytes_, " bytes arrive");
    posted_ = false;
    board_.wait(rank_, round_++, all, deadline_, where());
  }
  void abort(std::string_view reason) { board_.fail(concat("rank ", rank_, " aborted: ", reason)); }
  void check() const { board_.check(where()); }
  /// For destructors: an exception that passes fails the peers at once, leaving fails those that
  /// wait.
  void depart(bool unwinding) {
    if (unwinding) board_.fail(concat("rank ", rank_, " ended with an exception"));
    board_.leave(rank_);
  }

 private:
  [[nodiscard]] ErrorContext where() const { return {.rank = rank_, .operation = operation_}; }

  Board& board_;
  int rank_;
  std::chrono::milliseconds deadline_;
  std::string_view operation_;
  std::uint32_t round_ = 0;
  std::size_t bytes_ = 0;
  bool posted_ = false;
};

}  // namespace dpgather::detail
