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
/// Calls `loop(round)` for loops over many counts: round(n) is `round_up(n, multiple)`, without a
/// division where the multiple is a power of two.
template <class Loop>
constexpr void with_round_up(std::int64_t multiple, const Loop& loop) {
  if ((multiple & (multiple - 1)) == 0)
    loop([multiple](std::int64_t n) { return (n + multiple - 1) & -multiple; });
  else
    loop([multiple](std::int64_t n) { return round_up(n, multiple); });
}
/// Each of `counts` up to the next multiple. Same length as `counts`.
constexpr void round_up_each(Counts counts, std::int64_t multiple, std::span<std::int64_t> to) {
  with_round_up(multiple, [&](const auto& round) {
    for (std::size_t i = 0; i < counts.size(); ++i) to[i] = round(counts[i]);
  });
}
[[nodiscard]] constexpr std::int64_t ceil_div(std::int64_t n, std::int64_t by) {
  return (n + by - 1) / by;
}
[[nodiscard]] constexpr std::int64_t sum(Counts counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}
[[nodiscard]] constexpr std::int64_t max(Counts counts) {
  std::int64_t most = counts.empty() ? 0 : counts.front();
  for (const std::int64_t count : counts) most = count > most ? count : most;
  return most;
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
/// All of them; the first that is wrong is named. Limits are tested once for all: no count within
/// them has a bit beyond `max_rows`, which is all ones.
inline void check_counts(Counts counts, const ErrorContext& where) {
  static_assert((max_rows & (max_rows + 1)) == 0);
  std::uint64_t bits = 0;
  for (const std::int64_t count : counts) bits |= static_cast<std::uint64_t>(count);
  if (bits <= static_cast<std::uint64_t>(max_rows)) return;
  for (std::size_t i = 0; i < counts.size(); ++i) check_count(counts[i], i, where);
}

}  // namespace dpgather
