// What a step at a captured shape costs.
#pragma once

#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/size_policy.hpp>

namespace dpgather {

/// FFN rows plus a weight times attention rows, `global + w * W * local`, in hundredths of an FFN
/// row: whole numbers, so that all ranks agree on every comparison. An attention pad has length 1
/// and so costs its projections alone, about a quarter of what a row costs in the FFN.
struct ShapeCost {
  int ranks = 1;               ///< W: DP ranks of one FFN group
  int attention_percent = 25;  ///< 100 w

  [[nodiscard]] constexpr std::int64_t of(const SizePair& shape) const {
    return 100 * shape.global + std::int64_t{attention_percent} * ranks * shape.local;
  }
  void check() const {
    constexpr int most_ranks = 1 << 20, most_percent = 1000;
    const ErrorContext where{.operation = "ShapeCost"};
    require(ranks >= 1 && ranks <= most_ranks, where, "ranks is ", ranks, ", must be 1 to ",
            most_ranks);
    require(attention_percent >= 0 && attention_percent <= most_percent, where,
            "attention_percent is ", attention_percent, ", must be 0 to ", most_percent);
  }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(ranks).add(attention_percent).value();
  }
  friend constexpr bool operator==(const ShapeCost&, const ShapeCost&) = default;
};

}  // namespace dpgather
