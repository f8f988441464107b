// Bare barriers, which an agreement is compared with.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <dpgather/comm/wait.hpp>

namespace agree_latency {

/// A counter in memory that all ranks share, threads or processes.
struct SharedCounter {
  alignas(128) std::atomic<std::uint32_t> arrivals{0};
  alignas(128) std::atomic<std::uint32_t> sleepers{0};
  alignas(128) std::atomic<std::uint32_t> failed{0};
};

/// One rank's view of it. Waits as the library's own waits do: spins where each rank has a core, else
/// yields and sleeps.
class CounterBarrier {
 public:
  CounterBarrier(SharedCounter& shared, int ranks)
      : shared_(shared),
        ranks_(static_cast<std::uint32_t>(ranks)),
        budget_(dpgather::detail::SpinBudget::for_ranks(ranks)) {}

  /// Throws when another rank failed, or does not come within a minute.
  void operator()() {
    target_ += ranks_;
    if (shared_.arrivals.fetch_add(1) + 1 == target_)
      return dpgather::detail::wake_sleepers(shared_.arrivals, shared_.sleepers);
    const bool in_time = dpgather::detail::wait_word(
        shared_.arrivals, shared_.sleepers, budget_, std::chrono::minutes(1),
        [&](std::uint32_t arrived) { return static_cast<std::int32_t>(arrived - target_) >= 0; },
        [&] {
          if (shared_.failed.load() != 0) throw std::runtime_error("another rank failed");
        });
    if (!in_time) throw std::runtime_error("a rank did not come to a barrier within a minute");
  }

 private:
  SharedCounter& shared_;
  std::uint32_t ranks_, target_ = 0;
  dpgather::detail::SpinBudget budget_;
};

/// The barriers of one rank. The first also lets ranks enter together what is timed.
struct Barrier {
  std::string name;
  std::function<void()> pass;
};
using Barriers = std::vector<Barrier>;

}  // namespace agree_latency
