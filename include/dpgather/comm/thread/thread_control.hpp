// Control plane between threads of one process.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include <dpgather/comm/board.hpp>
#include <dpgather/comm/control_plane.hpp>

namespace dpgather {

/// Shared by the ranks' ThreadControl handles.
class ThreadControlBoard {
 public:
  explicit ThreadControlBoard(int size) {
    require(size >= 1 && size <= detail::Board::max_ranks, {.operation = "ThreadControl"},
            "size is ", size, ", must be 1 to ", detail::Board::max_ranks);
    memory_.reset(::operator new (detail::Board::bytes(size), std::align_val_t{128}));
    board_ = detail::Board::create(memory_.get(), size);
    taken_ = std::make_unique<std::atomic<bool>[]>(static_cast<std::size_t>(size));
  }
  [[nodiscard]] detail::Board& board() { return *board_; }
  void join(int rank) {
    const ErrorContext where{.rank = rank, .operation = "ThreadControl"};
    require(rank >= 0 && rank < board_->size(), where, "rank is ", rank, ", must be 0 to ",
            board_->size() - 1);
    require(!taken_[static_cast<std::size_t>(rank)].exchange(true), where, "rank ", rank,
            " is taken already");
  }

 private:
  struct Release {
    void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{128}); }
  };
  std::unique_ptr<void, Release> memory_;
  detail::Board* board_ = nullptr;
  std::unique_ptr<std::atomic<bool>[]> taken_;
};

/// One rank's handle. Records of up to 1024 bytes; not movable, since others may be told its
/// address.
class ThreadControl {
 public:
  ThreadControl(std::shared_ptr<ThreadControlBoard> board, int rank,
                std::chrono::milliseconds deadline = default_deadline)
      : board_((board->join(rank), std::move(board))),
        rank_(rank),
        seat_(board_->board(), rank, deadline, "ThreadControl") {}
  ThreadControl(const ThreadControl&) = delete;
  ThreadControl& operator=(const ThreadControl&) = delete;
  ~ThreadControl() { seat_.depart(std::uncaught_exceptions() > exceptions_); }

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return board_->board().size(); }
  void post(std::span<const std::byte> mine) { seat_.post(mine); }
  void wait(std::span<std::byte> all) { seat_.wait(all); }
  void abort(std::string_view reason) { seat_.abort(reason); }
  void check() const { seat_.check(); }

 private:
  std::shared_ptr<ThreadControlBoard> board_;
  int rank_;
  int exceptions_ = std::uncaught_exceptions();
  detail::BoardSeat seat_;
};

static_assert(ControlPlane<ThreadControl>);

}  // namespace dpgather
