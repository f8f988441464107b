// Row bodies of compaction: valid rows of per-request slots, one after the other.
#pragma once

#include <cstdint>

#include <dpgather/core/config.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/search.hpp>

namespace dpgather::detail {

/// Slot row r * width + k, if it is valid, goes to row `starts[r] + k` of `out`. Up to `most`
/// requests; where they start travels as an argument of the work.
template <class T>
struct CompactSlots {
  static constexpr int most = 96;
  std::int64_t starts[most + 1];
  Rows<const T> slots;
  Rows<T> out;
  std::int64_t width;
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    const std::int64_t r = row / width;
    const std::int64_t to = starts[r] + row % width;
    if (to < starts[r + 1]) copy_elements(out.row(to), slots.row(row), out.width(), lane, lanes);
  }
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(out); }
};

/// Row i of `out` is valid row i of all slots, in order; rows after the last become zero. Request r
/// has `starts[r + 1] - starts[r]` valid rows, the first of its `width` slot rows. `starts`,
/// `[requests + 1]`, ascends from 0 and is read when the work runs.
template <class T>
struct CompactRow {
  const std::int64_t* starts;
  std::int64_t requests;
  std::int64_t width;
  Rows<const T> slots;
  Rows<T> out;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(out); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (row >= starts[requests]) return zero_elements(out.row(row), out.width(), lane, lanes);
    const std::int64_t request = starts_up_to(starts, requests, row) - 1;
    const std::int64_t source = request * width + (row - starts[request]);
    copy_elements(out.row(row), slots.row(source), out.width(), lane, lanes);
  }
};

/// A count of valid rows as it is used: within 0 and width. What lies outside goes to the error
/// word.
template <class Count>
struct ClampCount {
  std::int64_t width;
  std::int64_t* error;
  DPGATHER_HD std::int64_t operator()(Count count) const {
    const auto value = static_cast<std::int64_t>(count);
    if (value >= 0 && value <= width) return value;
    *error = value;
    return value < 0 ? 0 : width;
  }
};

}  // namespace dpgather::detail
