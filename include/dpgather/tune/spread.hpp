// Traffic as it may become.
#pragma once

#include <algorithm>
#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/tune/load_histogram.hpp>

namespace dpgather {

/// Half of every step's weight goes, in equal parts, to 9 steps of (1 - percent / 100) to (1 +
/// percent / 100) its size, rounded up and at most the largest: shapes tuned from it are close
/// together around what was seen, too.
[[nodiscard]] inline LoadHistogram spread(const LoadHistogram& histogram, int percent) {
  constexpr std::int64_t parts = 9, whole = 400;
  require(percent >= 0 && percent < 100, {.operation = "spread"}, "percent is ", percent,
          ", must be 0 to 99");
  LoadHistogram wide(histogram.options());
  const SizePair& largest = histogram.options().largest;
  for (const LoadEntry& entry : histogram.entries()) {
    const std::int64_t part = entry.weight / (2 * parts);
    wide.add(entry.step.local, entry.step.global, entry.weight - parts * part);
    for (std::int64_t i = -(parts / 2); i <= parts / 2; ++i) {
      const std::int64_t factor = whole + i * percent;
      wide.add(std::min(ceil_div(entry.step.local * factor, whole), largest.local),
               std::min(ceil_div(entry.step.global * factor, whole), largest.global), part);
    }
  }
  return wide;
}

}  // namespace dpgather
