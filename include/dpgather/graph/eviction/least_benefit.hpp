// LeastBenefit: the graph that saves the fewest rows per byte goes.
#pragma once

#include <algorithm>
#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/graph/eviction/policy.hpp>

namespace dpgather {

/// benefit = sum over a graph's replays of rows * 2^-(half-lives since) / bytes
///
/// `rows` are the token rows that exist, of the FFN group. A cache never serves a step by a larger
/// graph that it holds, so a step whose graph is gone runs its rows eagerly, and is captured anew: a
/// replay saves the rows it serves, pads save nothing. Old rows count less, or a key of this morning
/// would hold its place all day. A half-life ends for all graphs at once, since graphs that decayed
/// each from its own last use would not be comparable.
struct LeastBenefit {
  static constexpr bool evicts = true;
  static constexpr std::int64_t longest_half_life = 1 << 20;  // so that no score overflows

  GraphBudget budget = {};
  std::int64_t half_life = 4096;  ///< in captures and replays of the cache

  void check() const {
    require(half_life >= 1 && half_life <= longest_half_life, {.operation = "LeastBenefit"},
            "half_life is ", half_life, ", must be 1 to ", longest_half_life);
  }
  void used(GraphUse& graph, std::uint64_t rows, std::uint64_t now) const {
    constexpr std::uint64_t most = std::uint64_t{1} << 31;
    graph.score = score_at(graph, now) + (std::min(rows, most) << 8);
    graph.scored = now;
  }
  [[nodiscard]] bool goes_first(const GraphUse& a, const GraphUse& b, std::uint64_t now) const {
    return less(score_at(a, now), std::max<std::uint64_t>(a.bytes, 1), score_at(b, now),
                std::max<std::uint64_t>(b.bytes, 1));
  }
  [[nodiscard]] std::uint64_t fingerprint() const {
    return Hash{}.add("LeastBenefit").add(budget.graphs).add(budget.bytes).add(half_life).value();
  }

 private:
  /// In 1/256 rows, so that a row is forgotten after 8 half-lives.
  [[nodiscard]] std::uint64_t score_at(const GraphUse& graph, std::uint64_t now) const {
    const auto life = static_cast<std::uint64_t>(half_life);
    const std::uint64_t halvings = now / life - graph.scored / life;
    return halvings < 64 ? graph.score >> halvings : 0;
  }
  /// a / b < c / d without rounding: a fraction that ranks round differently would part them.
  [[nodiscard]] static constexpr bool less(std::uint64_t a, std::uint64_t b, std::uint64_t c,
                                           std::uint64_t d) {
    for (;;) {
      if (a / b != c / d) return a / b < c / d;
      a %= b, c %= d;
      if (a == 0 || c == 0) return a < c;
      // Below 1 both: a / b < c / d where d / c < b / a.
      const std::uint64_t old_a = a, old_b = b;
      a = d, b = c, c = old_b, d = old_a;
    }
  }
};

static_assert(EvictionPolicy<LeastBenefit>);

}  // namespace dpgather
