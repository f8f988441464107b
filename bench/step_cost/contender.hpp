// Somebody who runs every step, and a watch for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <dpgather/exchange/choice.hpp>

namespace step_cost {

using Rows = std::vector<std::int64_t>;  ///< of the ranks

class Stopwatch {
  using Clock = std::chrono::steady_clock;

 public:
  /// What `f` takes does not count.
  template <class F>
  void pause(const F& f) {
    const auto begun = Clock::now();
    f();
    begun_ += Clock::now() - begun;
  }
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - begun_).count();
  }

 private:
  Clock::time_point begun_ = Clock::now();
};

struct Contender {
  std::string name;
  /// Seconds of a step.
  std::function<double(const Rows&)> run;
  /// Steps by the reason of their transport; null where there is no choice.
  std::function<dpgather::ChoiceCounts()> choices = {};
  double seconds = 0;               ///< of this pass, on this rank
  std::vector<double> passes = {};  ///< of the slowest rank
};

}  // namespace step_cost
