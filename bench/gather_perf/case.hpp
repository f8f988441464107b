// What is measured: a call, on so many bytes, spread over the ranks in some way.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <dpgather/core/element.hpp>

namespace gather_perf {

/// Collectives of a communicator, and the two directions of a DpGather.
enum class What : std::uint8_t {
  barrier,
  all_gather,
  reduce_scatter,
  all_reduce,
  all_gather_v,
  reduce_scatter_v,
  gather,
  back
};
enum class Comm : std::uint8_t { thread, mpi, open_mpi, gloo, copy, nccl, thread_gpu, copy_gpu };
enum class Mode : std::uint8_t {
  max_len,
  sum_len_all_reduce,
  sum_len_all_gather_v,
  sum_len_peer_store,
  sum_len_hierarchical,
  automatic
};
/// Rows of each rank: equally many; in proportion to 1 ... W; all on the first rank; in the
/// proportions of a step of a trace.
enum class Spread : std::uint8_t { even, linear, one_hot, trace };

[[nodiscard]] std::string_view name(What what);
[[nodiscard]] std::string_view name(Comm comm);
[[nodiscard]] std::string_view name(Mode mode);
[[nodiscard]] std::string_view name(Spread spread);

/// Blocks of ranks may differ.
[[nodiscard]] constexpr bool is_ragged(What what) {
  return what >= What::all_gather_v;
}
[[nodiscard]] constexpr bool is_of_gather(What what) {
  return what >= What::gather;
}
[[nodiscard]] constexpr bool adds(What what) {
  return what == What::reduce_scatter || what == What::all_reduce ||
         what == What::reduce_scatter_v || what == What::back;
}
/// Bytes over the bus by bytes of the whole, as nccl-tests count them.
[[nodiscard]] double bus_factor(What what, int ranks);

struct Case {
  What what = What::all_gather;
  Spread spread = Spread::even;
  dpgather::DType dtype = dpgather::DType::bfloat16;
  bool in_place = false;
  int ranks = 1;
  int hosts = 1;
  std::int64_t width = 1;               ///< elements of a row: H for a DpGather, 1 for collectives
  std::vector<std::int64_t> rows = {};  ///< [ranks]

  [[nodiscard]] std::int64_t total_rows() const;
  [[nodiscard]] std::int64_t most_rows() const;
  [[nodiscard]] std::int64_t elements() const { return total_rows() * width; }
  [[nodiscard]] std::int64_t bytes() const;
  /// Elements of each rank and where they begin.
  [[nodiscard]] std::vector<std::int64_t> counts() const;
  [[nodiscard]] std::vector<std::int64_t> offsets() const;
};

/// `total` rows over `ranks`; `proportions`, [ranks], are for Spread::trace. Where an equal share is
/// asked for and `total` does not divide, it is rounded down, to one row at least.
[[nodiscard]] std::vector<std::int64_t> spread_rows(Spread spread, std::int64_t total, int ranks,
                                                    const std::vector<std::int64_t>& proportions);

/// The value of element `i` of rank `rank`: a small whole number, so that the sum over up to 64
/// ranks is exact in every type.
[[nodiscard]] constexpr std::int64_t pattern(int rank, std::int64_t i) {
  return (i * 7 + rank * 3 + i / 251) % 4;
}

}  // namespace gather_perf
