// Element work of ThreadComm on device memory: rows are chunks of flat buffers, one launch serves
// all peers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <dpgather/comm/thread/device/brake.hpp>
#include <dpgather/comm/thread/kernels.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/stop_word.hpp>
#include <dpgather/core/sum_sources.hpp>

namespace dpgather::detail {

/// Peers' pointers travel as an argument of a kernel, which holds so many.
inline constexpr int max_device_ranks = 64;

[[nodiscard]] inline bool aligned16(const void* a) {
  return reinterpret_cast<std::uintptr_t>(a) % 16 == 0;
}
[[nodiscard]] constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Copies the blocks of all peers, as bits: `Bits` is an unsigned integer of the element's size.
template <class Bits>
struct CopyBlocks {
  static constexpr std::int64_t chunk = 8192 / sizeof(Bits);
  static constexpr std::int64_t vector = 16 / sizeof(Bits);
  struct Block {
    const Bits* from;
    Bits* to;
    std::int64_t count;
    std::int64_t end;  // of its chunks among all
  };
  Block blocks[max_device_ranks];
  int number;
  const std::uint32_t* stop;

  /// Nothing if the data is there already.
  void add(const void* from, void* to, std::int64_t count) {
    if (count == 0 || from == to) return;
    const std::int64_t end = rows() + ceil_div(count, chunk);
    blocks[number++] = {static_cast<const Bits*>(from), static_cast<Bits*>(to), count, end};
  }
  [[nodiscard]] std::int64_t rows() const { return number == 0 ? 0 : blocks[number - 1].end; }
  [[nodiscard]] std::int64_t row_bytes() const {
    std::int64_t most = 0;
    for (int i = 0; i < number; ++i) most = std::max(most, blocks[i].count);
    return std::min(most, chunk) * static_cast<std::int64_t>(sizeof(Bits));
  }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (stopped(stop)) return;
    const Block* block = blocks;
    std::int64_t begin = 0;
    while (row >= block->end) begin = (block++)->end;
    const std::int64_t first = (row - begin) * chunk;
    const Bits* const from = block->from + first;
    Bits* const to = block->to + first;
    const std::int64_t left = block->count - first;
    const std::int64_t n = left < chunk ? left : chunk;
    // A ragged end costs the elements that it has, not the vectors before it.
    const std::int64_t whole = aligned16(from, to, 0) ? n / vector * vector : 0;
    copy_elements(to, from, whole, lane, lanes);
    for (std::int64_t i = whole + lane; i < n; i += lanes) to[i] = from[i];
  }
};

template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;

/// out[i] = sum over ranks, in rank order, of sources[rank][i]. `out` may be one of the sources: a
/// lane writes what no other reads.
template <Element T>
struct SumRanks {
  using Sum = typename ElementTraits<T>::accumulate;
  static constexpr std::int64_t chunk = 4096 / sizeof(T);
  const T* sources[max_device_ranks];
  T* out;
  std::int64_t count;
  int ranks;
  bool aligned;  // out and all sources, to 16 bytes
  const std::uint32_t* stop;

  [[nodiscard]] std::int64_t rows() const { return ceil_div(count, chunk); }
  [[nodiscard]] std::int64_t row_bytes() const {
    return std::min(count, chunk) * static_cast<std::int64_t>(sizeof(T));
  }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (stopped(stop)) return;
    const std::int64_t first = row * chunk;
    const std::int64_t left = count - first;
    const std::int64_t n = left < chunk ? left : chunk;
    sum_sources<T>(
        out + first, n, ranks, [&](int rank) { return sources[rank] + first; }, aligned, lane,
        lanes);
  }
};

/// The `index`-th of `parts` nearly equal parts of [0, count), each (but the last) a number of
/// 16-byte vectors.
template <class T>
[[nodiscard]] Part aligned_part(std::int64_t count, int parts, int index) {
  constexpr std::int64_t vector = 16 / sizeof(T);
  const Part of = Part::of(ceil_div(count, vector), parts, index);
  const std::int64_t first = std::min(of.first * vector, count);
  return {first, std::min((of.first + of.count) * vector, count) - first};
}

}  // namespace dpgather::detail
