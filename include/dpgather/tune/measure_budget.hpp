// Which sizes a start-up measurement times, and how often, so that it keeps to its time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/cost_curve.hpp>
#include <dpgather/plan/counts.hpp>

namespace dpgather {

struct MeasureBudget {
  double seconds = 1.5;       ///< for the whole measurement
  int sizes = 8;              ///< at most, of each transport and kind of counts
  int most_repetitions = 51;  ///< of one size; their median counts

  void check() const {
    constexpr int most_seconds = 3600, most_sizes = 64, most_times = 10000;
    const ErrorContext where{.operation = "MeasureBudget"};
    require(std::isfinite(seconds) && seconds > 0 && seconds <= most_seconds, where, "seconds is ",
            detail::digits(seconds), ", must be above 0 and at most ", most_seconds);
    require(sizes >= 2 && sizes <= most_sizes, where, "sizes is ", sizes, ", must be 2 to ",
            most_sizes);
    require(most_repetitions >= 1 && most_repetitions <= most_times, where, "most_repetitions is ",
            most_repetitions, ", must be 1 to ", most_times);
  }

  /// Rows from `unit` to `most`, ascending multiples of `unit`, each about the same factor above the
  /// last. 1 <= unit <= most.
  [[nodiscard]] std::vector<std::int64_t> ladder(std::int64_t unit, std::int64_t most) const {
    std::vector<std::int64_t> rungs;
    const double factor = static_cast<double>(most / unit);
    for (int i = 0; i < sizes; ++i) {
      const double units = std::round(std::pow(factor, static_cast<double>(i) / (sizes - 1)));
      const std::int64_t rows = std::min(static_cast<std::int64_t>(units), most / unit) * unit;
      if (rungs.empty() || rows > rungs.back()) rungs.push_back(rows);
    }
    return rungs;
  }
  /// Whether a size that takes `once` seconds a run may still be tried: a trial and one repetition.
  /// `elapsed` seconds have passed.
  [[nodiscard]] bool allows(double once, double elapsed) const {
    return elapsed + 2 * once <= seconds;
  }
  /// Repetitions of a size whose trial took `once` seconds: its share of what is left, of which
  /// `cells` sizes, itself too, are to have theirs. At least 1.
  [[nodiscard]] int repetitions(double once, double elapsed, std::int64_t cells) const {
    const double share = std::max(seconds - elapsed, 0.0) / static_cast<double>(cells);
    if (once * most_repetitions <= share) return most_repetitions;
    return std::clamp(static_cast<int>(share / once), 1, most_repetitions);
  }
};

}  // namespace dpgather
