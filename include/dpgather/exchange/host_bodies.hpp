// Element work between the members of a host and its leader, as row bodies.
#pragma once

#include <cstdint>

#include <dpgather/core/element.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/search.hpp>
#include <dpgather/core/stop_word.hpp>
#include <dpgather/core/sum_sources.hpp>
#include <dpgather/exchange/device_counts.hpp>
#include <dpgather/exchange/peer_bodies.hpp>
#include <dpgather/exchange/peer_table.hpp>

namespace dpgather::detail {

/// Where rows of the global buffer lie in the leader's area. The rows of a host are a run of them:
/// each host's begins at a multiple of `host_len`, or, if that is 0, lies where it does in the global
/// buffer.
struct HostRows {
  CountsView counts;
  std::int64_t blocks;      // of a host
  std::int64_t host_len;    // rows that a host has room for
  std::int64_t global_len;  // what the caller was built for

  /// Of row `row` of the global buffer, in block `block`; negative if there is no room for it.
  [[nodiscard]] DPGATHER_HD std::int64_t place(std::int64_t row, std::int64_t block) const {
    if (row >= global_len) return -1;
    if (host_len == 0) return row;
    const std::int64_t host = block / blocks;
    const std::int64_t in_host = row - counts.offsets[host * blocks];
    return in_host < host_len ? host * host_len + in_host : -1;
  }
  /// The same, and negative as well if the row is padding.
  [[nodiscard]] DPGATHER_HD std::int64_t place(std::int64_t row) const {
    const std::int64_t block = starts_up_to(counts.offsets, counts.blocks, row) - 1;
    if (block < 0 || row - counts.offsets[block] >= counts.valid[block]) return -1;
    return place(row, block);
  }
};

/// Row k of this rank's slice goes to its place in the leader's area; `fixed_slice` is as in
/// StoreToPeers.
template <class T>
struct StoreToLeader {
  Rows<const T> from;  // [local_len, H]
  Peers<T> area;
  HostRows rows;
  std::int64_t local_len;
  std::int64_t tp;
  std::int64_t attn_tp;
  std::int64_t fixed_slice;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(from); }
  DPGATHER_HD void operator()(std::int64_t k, int lane, int lanes) const {
    if (stopped(area.stop)) return;
    const CountsView& counts = rows.counts;
    const std::int64_t slice = fixed_slice > 0 ? fixed_slice : counts.lens[counts.own] / attn_tp;
    const std::int64_t i = tp * slice + k;
    if (k >= slice || i >= counts.own_valid(local_len)) return;
    const std::int64_t to = rows.place(counts.own_offset() + i, counts.own);
    if (to < 0) return;
    copy_elements(area.buffer(0) + to * from.width(), from.row(i), from.width(), lane, lanes);
  }
};

/// A row of the global buffer comes from the leader's area; pads become zero.
template <class T>
struct PullAll {
  Peers<T> area;
  Rows<T> global;  // [global_len, H]
  HostRows rows;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(global); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (stopped(area.stop)) return;
    const std::int64_t width = global.width();
    const std::int64_t from = rows.place(row);
    if (from < 0) return zero_elements(global.row(row), width, lane, lanes);
    copy_elements(global.row(row), static_cast<const T*>(area.buffer(0) + from * width), width,
                  lane, lanes);
  }
};

/// Row `first + k` of the leader's area becomes the sum, in rank order, of what the members have
/// for it; pads are left as they are.
template <Element T>
struct AddOnHost {
  Peers<T> partial;  // [global_len, H] each
  Peers<T> area;
  HostRows rows;
  std::int64_t width;
  std::int64_t first;
  [[nodiscard]] std::int64_t row_bytes() const {
    return width * static_cast<std::int64_t>(sizeof(T));
  }
  DPGATHER_HD void operator()(std::int64_t k, int lane, int lanes) const {
    if (stopped(area.stop)) return;
    const std::int64_t row = first + k;
    const std::int64_t to = rows.place(row);
    if (to < 0) return;
    T* const out = area.buffer(0) + to * width;
    const auto source = [&](int rank) -> const T* { return partial.buffer(rank) + row * width; };
    bool aligned = aligned16(out, out, 0);
    for (int rank = 0; rank < partial.ranks; ++rank)
      aligned = aligned && aligned16(source(rank), source(rank), 0);
    sum_sources<T>(out, width, partial.ranks, source, aligned, lane, lanes);
  }
};

/// Row k of `out` becomes row `first + k` of this rank's block, from the leader's area; pads become
/// zero.
template <class T>
struct PullOwn {
  Peers<T> area;
  Rows<T> out;
  HostRows rows;
  std::int64_t first;
  std::int64_t local_len;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(out); }
  DPGATHER_HD void operator()(std::int64_t k, int lane, int lanes) const {
    if (stopped(area.stop)) return;
    const CountsView& counts = rows.counts;
    const std::int64_t width = out.width();
    const std::int64_t i = first + k;
    const bool real = i < counts.own_valid(local_len);
    const std::int64_t from = real ? rows.place(counts.own_offset() + i, counts.own) : -1;
    if (from < 0) return zero_elements(out.row(k), width, lane, lanes);
    copy_elements(out.row(k), static_cast<const T*>(area.buffer(0) + from * width), width, lane,
                  lanes);
  }
};

}  // namespace dpgather::detail
