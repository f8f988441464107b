// Arithmetic on per-rank row counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>

#include <dpgather/core/error.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather {

/// A count above this is a mistake: row indices must fit 32 bits on the device.
inline constexpr std::int64_t max_rows = (std::int64_t{1} << 31) - 1;

/// `n` up to the next multiple; 0 stays 0. n >= 0, multiple >= 1.
[[nodiscard]] constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
[[nodiscard]] constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t by) {
  return (n + by - 1) / by;
}
[[nodiscard]] constexpr std::int64_t sum(Counts counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}
[[nodiscard]] constexpr std::int64_t max(Counts counts) {
  return counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
}
/// Exclusive prefix sum: `offsets[i]` is where rank i's rows start. Same length as `counts`.
constexpr void exclusive_offsets(Counts counts, std::span<std::int64_t> offsets) {
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), std::int64_t{0});
}
/// The part of `valid` rows that falls into slice `slice` of slices of `slice_len` rows each.
[[nodiscard]] constexpr std::int64_t rows_in_slice(std::int64_t valid, std::int64_t slice_len,
                                                   std::int64_t slice) {
  return std::clamp<std::int64_t>(valid - slice * slice_len, 0, slice_len);
}

inline void check_count(std::int64_t count, std::size_t rank, const ErrorContext& where) {
  require(count >= 0 && count <= max_rows, where, "count of DP rank ", rank, " is ", count,
          ", must be 0 to ", max_rows);
}

}  // namespace dpgather
