// Catches a way back that does not fit what the FFN left: partial sums, or rows reduced already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/exchange/device_counts.hpp>

namespace dpgather::detail {

/// Hash of the bytes of all rows that exist; 0 if they are all zero bytes, or if there are none.
template <class T>
std::int64_t hash_valid_rows(Rows<const T> rows, const CountsView& counts) {
  std::uint64_t hash = 14695981039346656037u;
  bool zero = true;
  for (std::int64_t d = 0; d < counts.blocks; ++d)
    for (std::int64_t i = 0; i < counts.valid[d] && counts.offsets[d] + i < rows.rows(); ++i) {
      const auto* bytes = reinterpret_cast<const unsigned char*>(rows.row(counts.offsets[d] + i));
      for (std::size_t b = 0; b < static_cast<std::size_t>(rows.width()) * sizeof(T); ++b) {
        hash = (hash ^ bytes[b]) * 1099511628211u;
        zero = zero && bytes[b] == 0;
      }
    }
  return zero ? 0 : static_cast<std::int64_t>(hash | 1u);
}

/// Rows that all ranks hold alike have been reduced; rows that differ are partial sums. One rank,
/// or all zeros, proves nothing and passes. Throws InvalidArgument on every rank; `hashes` has room
/// for one value a rank.
template <class T, class Comm>
void check_reduction(Comm& comm, Rows<const T> rows, const CountsView& counts, bool expect_partial,
                     std::vector<std::int64_t>& hashes, const ErrorContext& where) {
  const std::int64_t mine = hash_valid_rows(rows, counts);
  comm.all_gather(&mine, hashes.data(), 1, typename Comm::memory_type::stream_type{});
  bool alike = true;
  bool zero = true;
  for (const auto hash : hashes) {
    alike = alike && hash == hashes.front();
    zero = zero && hash == 0;
  }
  if (comm.size() == 1 || zero) return;
  require(!expect_partial || !alike, where,
          "all ranks hold the same rows: they are reduced already and would be added ", comm.size(),
          " times; use slice_local");
  require(expect_partial || alike, where,
          "ranks hold different rows: the FFN left partial sums; use reduce_scatter");
}

}  // namespace dpgather::detail
