// Element work of the exchanges: copy rows, zero rows. Pads are zeroed by select, never by
// multiplying.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <dpgather/core/rows.hpp>
#include <dpgather/exchange/device_counts.hpp>

namespace dpgather::detail {

template <class T>
void zero_rows(Rows<T> rows) {
  if (rows.contiguous()) {
    if (rows.size() > 0)
      std::memset(static_cast<void*>(rows.data()), 0,
                  static_cast<std::size_t>(rows.size()) * sizeof(T));
    return;
  }
  for (std::int64_t i = 0; i < rows.rows(); ++i)
    std::memset(static_cast<void*>(rows.row(i)), 0,
                static_cast<std::size_t>(rows.width()) * sizeof(T));
}

/// Same number of rows on both sides; a no-op where the data is there already.
template <class T>
void copy_rows(Rows<const T> from, Rows<T> to) {
  if (from.empty() || from.data() == to.data()) return;
  if (from.contiguous() && to.contiguous()) {
    std::memcpy(static_cast<void*>(to.data()), from.data(),
                static_cast<std::size_t>(to.size()) * sizeof(T));
    return;
  }
  for (std::int64_t i = 0; i < to.rows(); ++i)
    std::memcpy(static_cast<void*>(to.row(i)), from.row(i),
                static_cast<std::size_t>(to.width()) * sizeof(T));
}

/// Rows `[first, first + count)` of `to`: those below `valid` come from `from`, the rest become
/// zero.
template <class T>
void select_rows(Rows<const T> from, Rows<T> to, std::int64_t first, std::int64_t count,
                 std::int64_t valid) {
  const std::int64_t real = std::clamp<std::int64_t>(valid - first, 0, count);
  copy_rows(from.slice(first, real), to.slice(first, real));
  zero_rows(to.slice(first + real, count - real));
}

/// Zeroes every row of `global` that no rank has: ends of blocks, and the tail behind the last
/// block.
template <class T>
void zero_pads(Rows<T> global, const CountsView& counts) {
  std::int64_t next = 0;
  for (std::int64_t d = 0; d < counts.blocks; ++d) {
    const std::int64_t start = std::min(counts.offsets[d], global.rows());
    if (start > next) zero_rows(global.slice(next, start - next));
    next = std::max(next, start + counts.clamp(counts.valid[d], global.rows() - start));
  }
  zero_rows(global.slice(next, global.rows() - next));
}

}  // namespace dpgather::detail
