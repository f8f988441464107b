// What shapes are tuned for, and within which limits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/shape_cost.hpp>
#include <dpgather/plan/size_policy.hpp>

namespace dpgather {

/// For every step, seen or not, there is a shape with at most `percent` of the step's FFN rows (125:
/// 1.25 times; 0 is no bound), but for what the unit of sizes takes. The step takes it, or another
/// one that costs less in all. Of shapes with two axes it holds for steps whose longest rank has up
/// to `skew_percent` of the mean of the ranks (300: three times), 0 is any step at all; a more
/// skewed one takes the shape of a larger step. Costs shapes: a chain of sizes up to the largest.
struct PaddingBound {
  int percent = 0;
  int skew_percent = 0;
};

/// Bytes that a graph holds, for a budget.
struct GraphBytes {
  std::int64_t per_graph = 0;
  std::int64_t per_local = 0;   ///< by requests of the local size
  std::int64_t per_global = 0;  ///< by requests of the global size
  [[nodiscard]] constexpr std::int64_t operator()(const SizePair& shape) const {
    return per_graph + per_local * shape.local + per_global * shape.global;
  }
};

struct TuneGoal {
  ShapeCost cost = {};
  std::int64_t largest = 256;       ///< local size of the largest shape, (largest, W * largest)
  int max_shapes = 36;              ///< k, the largest shape included
  int attn_tp = 1;                  ///< A: a size times the width is a multiple of it
  int width = 1;                    ///< rows per request
  std::int64_t rows_per_graph = 0;  ///< FFN rows that a graph must save over the steps counted
  PaddingBound padding = {};
  std::int64_t byte_budget = 0;  ///< of all graphs together; 0: `max_shapes` alone decides
  std::function<std::int64_t(const SizePair&)> bytes =
      GraphBytes{};  ///< pure; the same on all ranks

  /// Sizes are multiples of this.
  [[nodiscard]] std::int64_t unit() const { return attn_tp / std::gcd(attn_tp, width); }
  [[nodiscard]] SizePair largest_pair() const { return {largest, cost.ranks * largest}; }
  void check() const;
};

namespace detail {

inline const ErrorContext tune_context{.operation = "SizeTuner"};

/// The largest size up to `limit` that may follow `before` in a chain that keeps the bound. The
/// worst step of a size has one unit more than the size before it.
[[nodiscard]] inline std::int64_t next_in_chain(std::int64_t before, std::int64_t unit, int percent,
                                                std::int64_t limit) {
  const std::int64_t least = before + unit;
  return std::min(std::max(least, least * percent / 100 / unit * unit), limit);
}

/// Fewest shapes that keep the bound of `goal`, ascending, with the largest as the last; only that
/// if there is no bound.
[[nodiscard]] inline std::vector<SizePair> fixed_pairs(const TuneGoal& goal) {
  const SizePair largest = goal.largest_pair();
  std::vector<SizePair> pairs;
  const std::int64_t unit = goal.unit();
  std::int64_t global = goal.padding.percent == 0 ? largest.global : 0;
  while (global < largest.global) {
    global = next_in_chain(global, unit, goal.padding.percent, largest.global);
    if (global == largest.global) break;
    std::int64_t local = global;
    if (goal.padding.skew_percent > 0)
      local = ceil_div(global * goal.padding.skew_percent, std::int64_t{100} * goal.cost.ranks);
    local = std::max(round_up(local, unit), round_up(ceil_div(global, goal.cost.ranks), unit));
    pairs.push_back({std::min({local, global, largest.local}), global});
  }
  pairs.push_back(largest);
  return pairs;
}

}  // namespace detail

inline void TuneGoal::check() const {
  const ErrorContext& where = detail::tune_context;
  constexpr int most_shapes = 1024, most_ways = 1 << 20, most_percent = 10000;
  constexpr std::int64_t most_cost = std::int64_t{1} << 40, most_rows = std::int64_t{1} << 34;
  cost.check();
  require(attn_tp >= 1 && attn_tp <= most_ways && width >= 1 && width <= most_ways, where,
          "attn_tp is ", attn_tp, " and width ", width, ", must be 1 to ", most_ways);
  require(max_shapes >= 1 && max_shapes <= most_shapes, where, "max_shapes is ", max_shapes,
          ", must be 1 to ", most_shapes);
  require(largest >= 1 && cost.ranks <= max_rows / largest && cost.of(largest_pair()) <= most_cost,
          where, "largest is ", largest, ", must be at least 1, and ", cost.ranks,
          " ranks of it at most ", max_rows, " rows of a cost up to ", most_cost);
  require(largest % unit() == 0, where, "largest is ", largest, ", must be a multiple of ", unit(),
          " for attn_tp ", attn_tp, " and width ", width);
  require(rows_per_graph >= 0 && rows_per_graph <= most_rows, where, "rows_per_graph is ",
          rows_per_graph, ", must be 0 to ", most_rows);
  require(padding.percent == 0 || (padding.percent >= 100 && padding.percent <= most_percent),
          where, "padding.percent is ", padding.percent, ", must be 0 (no bound) or 100 to ",
          most_percent);
  require(padding.skew_percent == 0 ||
              (padding.skew_percent >= 100 && padding.skew_percent <= 100 * most_ways),
          where, "padding.skew_percent is ", padding.skew_percent, ", must be 0 (any) or 100 to ",
          100 * most_ways);
  require(byte_budget >= 0 && (byte_budget == 0 || bytes), where, "byte_budget is ", byte_budget,
          ", must be at least 0, and needs `bytes`");
}

}  // namespace dpgather
