// What rows hold in the whole-path tests, and the work on them as bodies for host and device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <dpgather/core/config.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/exchange/device_counts.hpp>

namespace test {

using namespace dpgather;

/// Element j of the true row i of DP rank d: 0 to 3, so that sums are exact even in bf16.
DPGATHER_HD inline int true_value(std::int64_t step, std::int64_t d, std::int64_t i,
                                  std::int64_t j) {
  std::uint64_t x = 1;
  for (const std::int64_t part : {step, d, i, j}) {
    x = (x ^ static_cast<std::uint64_t>(part)) * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
  }
  return static_cast<int>((x >> 17) % 4);
}
/// What attention-TP rank t holds of it when inputs are partial: summands that add up.
DPGATHER_HD inline int summand(std::int64_t step, std::int64_t d, std::int64_t i, std::int64_t j,
                               int t, int attn_tp) {
  const int value = true_value(step, d, i, j);
  if (attn_tp == 1) return value;
  return t == 0 ? value - 2 * (attn_tp - 1) : 2;
}
/// FFN weight of rank r on column j; not all zero over ranks.
DPGATHER_HD inline int weight(int r, std::int64_t j) {
  return static_cast<int>((r * 5 + j * 3) % 4) - 1;
}

template <class T>
DPGATHER_HD T element(int value) {
  if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, fp16>)
    return T(static_cast<float>(value));
  else
    return static_cast<T>(value);
}
template <class T>
DPGATHER_HD bool is(const T& got, int value) {
  const T want = element<T>(value);
  const auto* a = reinterpret_cast<const unsigned char*>(&got);
  const auto* b = reinterpret_cast<const unsigned char*>(&want);
  for (std::size_t k = 0; k < sizeof(T); ++k)
    if (a[k] != b[k]) return false;
  return true;
}
/// All bits set: NaN in every floating type.
template <class T>
DPGATHER_HD void poison(T& element) {
  auto* bytes = reinterpret_cast<unsigned char*>(&element);
  for (std::size_t k = 0; k < sizeof(T); ++k) bytes[k] = 0xFF;
}

/// One element a row.
template <class T>
struct Poison {
  T* data;
  DPGATHER_HD void operator()(std::int64_t row, int lane, int) const {
    if (lane == 0) poison(data[row]);
  }
};

/// This rank's rows of a step, as attention would leave them.
template <class T>
struct Produce {
  Rows<T> to;
  std::int64_t step;
  int dp, tp, attn_tp;
  bool partial;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    for (std::int64_t j = lane; j < to.width(); j += lanes)
      to(i, j) =
          element<T>(partial ? summand(step, dp, i, j, tp, attn_tp) : true_value(step, dp, i, j));
  }
};

/// What captured checks read of the step.
struct StepWords {
  static constexpr int most = 16;
  std::int64_t index = 0;
  std::int64_t rows[most] = {};  // of each DP rank
};
struct WriteStep {
  StepWords from;
  StepWords* to;
  DPGATHER_HD void operator()(std::int64_t, int lane, int) const {
    if (lane == 0) *to = from;
  }
};

/// Finds out whether each row of a global buffer is what the step's counts say. `wrong` becomes the
/// row + 1, or -1 if the counts themselves are wrong.
template <class T>
struct CheckGathered {
  Rows<const T> all;
  CountsView counts;
  const StepWords* step;
  std::int64_t* wrong;
  DPGATHER_HD void operator()(std::int64_t at, int lane, int lanes) const {
    std::int64_t end = 0;
    std::int64_t block = -1;
    for (std::int64_t d = 0; d < counts.blocks; ++d) {
      const std::int64_t first = counts.offsets[d];
      const std::int64_t rows = step->rows[d];
      if (counts.valid[d] != rows || (rows > 0 && first < end)) *wrong = -1;
      if (rows > 0) end = first + rows;
      if (at >= first && at < first + rows) block = d;
    }
    if (end > all.rows()) *wrong = -1;
    if (at >= all.rows()) return;
    for (std::int64_t j = lane; j < all.width(); j += lanes) {
      const int want =
          block < 0 ? 0 : true_value(step->index, block, at - counts.offsets[block], j);
      if (!is(all(at, j), want)) *wrong = at + 1;
    }
  }
};

/// Partial sums: this rank's share. Reduced: the whole sum on every rank. Pads become NaN, as a
/// real FFN may do.
template <class T>
struct Ffn {
  Rows<const T> all;
  Rows<T> sums;
  CountsView counts;
  int rank, world;
  bool partial;
  DPGATHER_HD void operator()(std::int64_t at, int lane, int lanes) const {
    bool real = false;
    for (std::int64_t d = 0; d < counts.blocks; ++d)
      real = real || (at >= counts.offsets[d] && at < counts.offsets[d] + counts.valid[d]);
    for (std::int64_t j = lane; j < sums.width(); j += lanes) {
      if (!real) {
        poison(sums(at, j));
        continue;
      }
      using Wide = typename ElementTraits<T>::accumulate;
      // After a fault a row may be anything, NaN too: still wrong, and no overflow.
      const auto wide = static_cast<double>(static_cast<Wide>(all(at, j)));
      const int value = wide > -1000 && wide < 1000 ? static_cast<int>(wide) : 1000;
      int factor = 0;
      for (int r = 0; r < world; ++r)
        if (!partial || r == rank) factor += weight(r, j);
      sums(at, j) = element<T>(value * factor);
    }
  }
};

}  // namespace test
