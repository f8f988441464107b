// Control plane through an all-gather that the engine brings along (Gloo, a store,
// torch.distributed).
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather {

/// `all_gather(mine, all)` blocks until `all` holds every rank's record, in rank order, and throws
/// if it cannot; it runs inside `wait`. An abort is local: the callable's own failure handling
/// frees the peers.
template <std::invocable<std::span<const std::byte>, std::span<std::byte>> AllGather>
class CallableControl {
 public:
  CallableControl(int rank, int size, AllGather all_gather)
      : rank_(rank), size_(size), all_gather_(std::move(all_gather)) {
    require(size >= 1 && rank >= 0 && rank < size, where(), "rank ", rank, " of size ", size,
            " is impossible");
  }
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }

  void post(std::span<const std::byte> mine) {
    check();
    require(!mine.empty(), where(), "record is empty");
    require(!posted_, where(), "post was called twice without a wait");
    record_.assign(mine.begin(), mine.end());
    posted_ = true;
  }
  void wait(std::span<std::byte> all) {
    check();
    require(posted_, where(), "wait was called without a post");
    require(all.size() == record_.size() * static_cast<std::size_t>(size_), where(), "room for ",
            all.size(), " bytes given, ", size_, " records of ", record_.size(), " bytes arrive");
    posted_ = false;
    try {
      all_gather_(std::span<const std::byte>(record_), all);
    } catch (const std::exception& error) {
      abort(error.what());
      check();
    }
  }
  void abort(std::string_view reason) {
    if (failure_.empty())
      failure_ = reason.empty() ? std::string_view("aborted without a reason") : reason;
  }

  /// Knows of this rank's failures only.
  void check() const {
    if (!failure_.empty()) throw PeerError(where(), concat("control plane failed: ", failure_));
  }

 private:
  [[nodiscard]] ErrorContext where() const {
    return {.rank = rank_, .operation = "CallableControl"};
  }
  int rank_;
  int size_;
  AllGather all_gather_;
  std::vector<std::byte> record_;
  std::string failure_;
  bool posted_ = false;
};

}  // namespace dpgather
