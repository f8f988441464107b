// A board on which each rank of one host posts its record; lies in plain or shared memory.
#pragma once

#include <algorithm>
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
#include <dpgather/comm/record_bytes.hpp>
#include <dpgather/comm/wait.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather::detail {

/// Fixed layout, no pointers: processes map it at different addresses. Records are double-buffered,
/// which is enough: a rank posts round n + 1 only after it has waited for round n, so nobody still
/// reads round n - 1.
///
/// A rank polls each peer's slot, where the word that says "posted" lies beside the record: no line
/// is written by two ranks unless some of them sleep. Zeros at the end of a record are not carried.
/// tests/model/board.pml is a model of posting, waiting, sleeping and failing; keep it true.
class Board {
 public:
  static constexpr std::size_t max_record = 1024;
  static constexpr int max_ranks = 4096;

  struct alignas(128) Slot {
    std::atomic<std::uint32_t> posted{0};  ///< round + 1 of the record that is here, whole
    std::uint16_t bytes = 0, used = 0;  ///< of the record; of those that are not zeros at its end
    std::byte record[max_record];

    /// By its owner: its first two lines come back from the peers that read them, before it posts.
    void touch() {
      used = 0;
      record[cache_line] = {};
    }
    /// All but the first line, once `posted` was seen: not before, while it may be written.
    void prefetch() const {
      const auto* const first = reinterpret_cast<const std::byte*>(this);
      __builtin_prefetch(first + cache_line);
      for (std::size_t at = 2 * cache_line; at < offsetof(Slot, record) + used; at += cache_line)
        __builtin_prefetch(first + at);
    }
  };
  struct alignas(128) Seat {
    std::atomic<std::uint32_t> left{0};
    std::atomic<std::int32_t> process{0};
    Slot slot[2];
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
    failed_.store(1);
    wake();
  }
  void check(const ErrorContext& where) const {
    if (failed_.load(std::memory_order_acquire) != 0)
      throw PeerError(where, concat("control plane failed: ", std::string_view(reason_)));
  }
  void leave(int rank) {
    seat(rank).left.store(1);
    wake();
  }

  void post(int rank, std::uint32_t round, std::span<const std::byte> record) {
    Slot& mine = slot(rank, round);
    const std::size_t used = without_zeros(record);
    // The first line last, at one go: a peer that polls it takes it away between two stores.
    const std::size_t head = std::min(used, cache_line - offsetof(Slot, record));
    copy_words(mine.record + head, record.data() + head, used - head);
    copy_words(mine.record, record.data(), head);
    mine.bytes = static_cast<std::uint16_t>(record.size());
    mine.used = static_cast<std::uint16_t>(used);
    // Sequentially consistent, as is all that `wait` does asleep: whoever sleeps is seen here, or sees
    // this. Of the ranks that post last at least one sees all records.
    mine.posted.store(round + 1);
    if (sleepers_.load() != 0 && Progress(*this, round).complete()) wake();
  }

  void wait(int rank, std::uint32_t round, std::span<std::byte> all, SpinBudget budget,
            std::chrono::milliseconds deadline, const ErrorContext& where) {
    Progress progress(*this, round);
    const bool in_time = wait_until(
        wakes_, sleepers_, budget, deadline,
        [&] { return progress.complete() || failed_.load() != 0; },
        [&, this] { find_missing(round); });
    if (!in_time) {
      const std::string reason =
          concat("no record within ", deadline.count(), " ms from ranks ", missing(round));
      fail(reason);
      throw TimeoutError(where, reason);
    }
    if (!progress.complete()) check(where);
    const std::size_t each = all.size() / static_cast<std::size_t>(size_);
    for (int peer = 0; peer < size_; ++peer) {
      const Slot& theirs = slot(peer, round);
      require<DivergenceError>(theirs.bytes == each, where, "rank ", peer, " posted a record of ",
                               theirs.bytes, " bytes, rank ", rank, " one of ", each);
      std::byte* const to = all.data() + static_cast<std::size_t>(peer) * each;
      copy_words(to, theirs.record, theirs.used);
      clear_lines(to + theirs.used, each - theirs.used);
    }
    // All have posted this round, so nobody reads this rank's record of the one before.
    slot(rank, round + 1).touch();
  }

 private:
  explicit Board(int size) : size_(size) {}
  [[nodiscard]] Slot& slot(int rank, std::uint32_t round) { return seat(rank).slot[round % 2]; }
  /// Exact, as a slot is not posted into again before all ranks have ended `round`.
  [[nodiscard]] bool has_posted(int rank, std::uint32_t round) {
    return slot(rank, round).posted.load() == round + 1;
  }
  /// How many ranks have posted `round`, from rank 0 on; each is looked at until it has, then no more.
  class Progress {
   public:
    Progress(Board& board, std::uint32_t round) : board_(board), round_(round) {}
    [[nodiscard]] bool complete() {
      for (; next_ < board_.size_ && board_.has_posted(next_, round_); ++next_)
        board_.slot(next_, round_).prefetch();
      return next_ == board_.size_;
    }

   private:
    Board& board_;
    std::uint32_t round_;
    int next_ = 0;
  };

  void wake() {
    wakes_.fetch_add(1);
    wake_all(wakes_);
  }
  /// A rank that has not posted `round` and never will: it left, or its process is gone.
  void find_missing(std::uint32_t round) {
    for (int peer = 0; peer < size_; ++peer) {
      if (has_posted(peer, round)) continue;
      Seat& theirs = seat(peer);
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
      if (!has_posted(peer, round)) ranks += concat(ranks.empty() ? "" : ", ", peer);
    return ranks;
  }

  alignas(128) std::atomic<std::uint32_t> wakes_{0};  // what sleepers sleep on
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
      : board_(board),
        rank_(rank),
        deadline_(deadline),
        budget_(SpinBudget::for_ranks(board.size())),
        operation_(operation) {}

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
    board_.wait(rank_, round_++, all, budget_, deadline_, where());
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
  SpinBudget budget_;
  std::string_view operation_;
  std::uint32_t round_ = 0;
  std::size_t bytes_ = 0;
  bool posted_ = false;
};

}  // namespace dpgather::detail
