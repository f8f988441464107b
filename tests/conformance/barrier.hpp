// The barrier of a harness whose ranks are threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stdexcept>

#include <dpgather/comm/wait.hpp>

namespace conformance {

/// std::barrier, but a rank that waits for two minutes is told so. Ranks sleep as those of the
/// library do, which the simulation understands.
class Barrier {
 public:
  explicit Barrier(int ranks)
      : expected_(ranks), budget_(dpgather::detail::SpinBudget::for_ranks(ranks)) {}

  void arrive_and_wait() {
    const std::uint32_t round = round_.load();
    if (arrive(0)) return;
    if (!dpgather::detail::wait_word(
            round_, sleepers_, budget_, std::chrono::minutes(2),
            [round](std::uint32_t now) { return now != round; }, [] {}))
      throw std::runtime_error("not all ranks came to a barrier of the test");
  }
  /// Later rounds go on without this rank.
  void arrive_and_drop() { arrive(1); }

 private:
  /// True if this rank was the last of its round.
  bool arrive(int leaving) {
    {
      const std::lock_guard lock(mutex_);
      expected_ -= leaving;
      arrived_ += 1 - leaving;
      if (arrived_ < expected_ || arrived_ == 0) return false;
      arrived_ = 0;
      round_.fetch_add(1);
    }
    dpgather::detail::wake_sleepers(round_, sleepers_);
    return true;
  }

  std::mutex mutex_;
  int expected_;
  int arrived_ = 0;
  dpgather::detail::SpinBudget budget_;
  std::atomic<std::uint32_t> round_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

}  // namespace conformance
