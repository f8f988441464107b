// Padding rows of the global buffer: zeros, routing sentinels and a mask, from counts in memory.
#pragma once

#include <cstdint>

#include <dpgather/core/config.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/search.hpp>
#include <dpgather/core/stream.hpp>

namespace dpgather {

/// Where rows exist in a global buffer of `global_len` rows: block b is the rows from `offsets[b]`
/// to the next block, of which the first `valid[b]` exist; what follows the last block is padding.
/// `offsets` ascend. Both arrays, `[blocks]`, are read when the work runs, so that a replayed
/// recording sees the counts of its own step.
struct ValidRows {
  const std::int64_t* valid = nullptr;
  const std::int64_t* offsets = nullptr;
  std::int64_t blocks = 0;
  std::int64_t global_len = 0;

  [[nodiscard]] DPGATHER_HD constexpr bool contains(std::int64_t row) const {
    const std::int64_t started = detail::starts_up_to(offsets, blocks, row);
    return started > 0 && row - offsets[started - 1] < valid[started - 1];
  }
};

/// Row `row` of `rows` becomes zero if it is padding: written, not multiplied, since NaN times 0 is
/// NaN.
template <class T>
struct ZeroPadRow {
  ValidRows valid;
  Rows<T> rows;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(rows); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (!valid.contains(row)) detail::zero_elements(rows.row(row), rows.width(), lane, lanes);
  }
};

/// Expert ids of a padding row, `[K]`, become the sentinel: no expert gets the row.
template <class I>
struct SentinelPadRow {
  ValidRows valid;
  Rows<I> ids;
  I sentinel;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(ids); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (valid.contains(row)) return;
    for (std::int64_t k = lane; k < ids.width(); k += lanes) ids(row, k) = sentinel;
  }
};

struct MaskRow {
  ValidRows valid;
  std::uint8_t* mask;
  DPGATHER_HD void operator()(std::int64_t row, int lane, int) const {
    if (lane == 0) mask[row] = valid.contains(row) ? std::uint8_t{1} : std::uint8_t{0};
  }
};

namespace detail {

inline void check_valid_rows(const ValidRows& valid, std::int64_t rows, const char* operation) {
  const ErrorContext where{.operation = operation};
  require(valid.blocks >= 0 && valid.global_len >= 0, where, "blocks ", valid.blocks,
          " and global_len ", valid.global_len, " must not be negative");
  require(valid.blocks == 0 || (valid.valid != nullptr && valid.offsets != nullptr), where,
          "no counts given for ", valid.blocks, " blocks");
  require(rows >= valid.global_len, where, "buffer has ", rows, " rows, global_len is ",
          valid.global_len);
}

}  // namespace detail

/// Padding rows of `rows` `[global_len, H]` become zero, in place; rows that exist are unchanged.
/// Memory of `rows` and of the counts must outlive the work, and a recording of it.
template <class T, class Stream = HostStream>
void zero_tail(const ValidRows& valid, Rows<T> rows, Stream stream = {}) {
  detail::check_valid_rows(valid, rows.rows(), "zero_tail");
  launch(stream, "zero_tail", valid.global_len, ZeroPadRow<T>{valid, rows});
}

/// Routing ids `[global_len, K]` of padding rows become `sentinel`, in place.
template <class I, class Stream = HostStream>
void fill_sentinel(const ValidRows& valid, Rows<I> ids, I sentinel = I{-1}, Stream stream = {}) {
  detail::check_valid_rows(valid, ids.rows(), "fill_sentinel");
  launch(stream, "fill_sentinel", valid.global_len, SentinelPadRow<I>{valid, ids, sentinel});
}

/// `mask[row]`, `[global_len]`, is 1 where a row exists and 0 where it is padding.
template <class Stream = HostStream>
void row_mask(const ValidRows& valid, std::uint8_t* mask, Stream stream = {}) {
  detail::check_valid_rows(valid, mask == nullptr ? 0 : valid.global_len, "row_mask");
  launch(stream, "row_mask", valid.global_len, MaskRow{valid, mask});
}

}  // namespace dpgather
