// Searching ascending numbers, for host and device code.
#pragma once

#include <cstdint>

#include <dpgather/core/config.hpp>

namespace dpgather::detail {

/// How many of `starts`, `[n]` and ascending, are at or before `row`: the last of them is that of
/// the block the row lies in, since empty blocks before it share its start.
[[nodiscard]] DPGATHER_HD constexpr std::int64_t starts_up_to(const std::int64_t* starts,
                                                              std::int64_t n, std::int64_t row) {
  std::int64_t low = 0;
  std::int64_t high = n;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (starts[middle] <= row)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace dpgather::detail
