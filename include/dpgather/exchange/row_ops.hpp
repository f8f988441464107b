// Element work of the exchanges as row bodies. Pads are zeroed by select, never by multiplying.
#pragma once

#include <cstdint>

#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/exchange/device_counts.hpp>

namespace dpgather::detail {

/// Row i becomes the one of `from`, or zero: the select that all bodies come down to.
template <class T>
DPGATHER_HD void select_row(Rows<const T> from, std::int64_t source, bool real, Rows<T> to,
                            std::int64_t i, int lane, int lanes) {
  if (real)
    copy_elements(to.row(i), from.row(source), to.width(), lane, lanes);
  else
    zero_elements(to.row(i), to.width(), lane, lanes);
}

/// Rows `first` and up of `to`: those that exist on this rank come from the same row of `from`, the
/// rest become zero. `len` is what the caller was built for.
template <class T>
struct SelectOwnRow {
  Rows<const T> from;
  Rows<T> to;
  std::int64_t first;
  std::int64_t len;
  CountsView counts;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(to); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    const std::int64_t i = first + row;
    select_row(from, i, i < counts.own_valid(len), to, i, lane, lanes);
  }
};

/// As above, but row i comes from this rank's block of a global buffer.
template <class T>
struct SelectFromBlock {
  Rows<const T> global;
  Rows<T> to;
  std::int64_t len;
  CountsView counts;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(to); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    const std::int64_t source = counts.own_offset() + row;
    const bool real = row < counts.own_valid(len) && source < global.rows();
    select_row(global, source, real, to, row, lane, lanes);
  }
};

/// A row of the global buffer: one of this rank's slice `[tp * len / attn_tp, ...)` if `sliced`,
/// any of this rank's if not; every other row becomes zero.
template <class T>
struct PlaceOwnRow {
  Rows<const T> from;
  Rows<T> global;
  std::int64_t len;
  std::int64_t tp;
  std::int64_t attn_tp;
  bool sliced;
  CountsView counts;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(global); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    const std::int64_t i = row - counts.own_offset();
    const std::int64_t slice = counts.lens[counts.own] / attn_tp;
    bool real = i >= 0 && i < counts.own_valid(len);
    if (sliced) real = real && i >= tp * slice && i < (tp + 1) * slice;
    select_row(from, i, real, global, row, lane, lanes);
  }
};

}  // namespace dpgather::detail
