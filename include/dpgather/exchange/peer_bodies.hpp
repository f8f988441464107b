// Element work between the buffers of ranks that reach each other's memory, as row bodies.
#pragma once

#include <cstdint>

#include <dpgather/core/element.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/stop_word.hpp>
#include <dpgather/core/sum_sources.hpp>
#include <dpgather/exchange/device_counts.hpp>
#include <dpgather/exchange/peer_table.hpp>

namespace dpgather::detail {

/// Row i of `to` becomes that of `from`.
template <class T>
struct CopyRow {
  Rows<const T> from;
  Rows<T> to;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(to); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    copy_elements(to.row(row), from.row(row), to.width(), lane, lanes);
  }
};

/// Work row (p, k) of `[ranks, each]`: row k of this rank's slice goes into the global buffer of its
/// p-th neighbour, so that ranks do not all store into the same one at once. A slice is the
/// `fixed_slice` rows from `tp * fixed_slice`, or, if that is 0, the A-th part of this step's len.
template <class T>
struct StoreToPeers {
  Rows<const T> from;      // [local_len, H]
  Peers<T> global;         // [global_len, H] each
  std::int64_t each;       // rows of the largest slice
  std::int64_t local_len;  // what the caller was built for
  std::int64_t global_len;
  std::int64_t tp;
  std::int64_t attn_tp;
  std::int64_t fixed_slice;
  CountsView counts;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(from); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (stopped(global.stop)) return;
    const std::int64_t slice = fixed_slice > 0 ? fixed_slice : counts.lens[counts.own] / attn_tp;
    const std::int64_t k = row % each;
    const std::int64_t i = tp * slice + k;
    const std::int64_t at = counts.own_offset() + i;
    if (k >= slice || i >= counts.own_valid(local_len) || at >= global_len) return;
    const auto peer = static_cast<int>((global.rank + 1 + row / each) % global.ranks);
    copy_elements(global.buffer(peer) + at * from.width(), from.row(i), from.width(), lane, lanes);
  }
};

/// Row k of `out` becomes the sum, in rank order, of what all ranks have for row `first + k` of this
/// rank's block; pads become zero.
template <Element T>
struct PullAndAdd {
  Peers<T> partial;  // [global_len, H] each
  Rows<T> out;
  std::int64_t first;
  std::int64_t local_len;
  std::int64_t global_len;
  CountsView counts;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(out); }
  DPGATHER_HD void operator()(std::int64_t k, int lane, int lanes) const {
    if (stopped(partial.stop)) return;
    const std::int64_t i = first + k;
    const std::int64_t width = out.width();
    const std::int64_t at = counts.own_offset() + i;
    if (i >= counts.own_valid(local_len) || at >= global_len)
      return zero_elements(out.row(k), width, lane, lanes);
    const auto source = [&](int rank) -> const T* { return partial.buffer(rank) + at * width; };
    bool aligned = aligned16(out.row(k), out.row(k), 0);
    for (int rank = 0; rank < partial.ranks; ++rank)
      aligned = aligned && aligned16(source(rank), source(rank), 0);
    sum_sources<T>(out.row(k), width, partial.ranks, source, aligned, lane, lanes);
  }
};

}  // namespace dpgather::detail
