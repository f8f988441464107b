// SizeTuner: capture shapes from the traffic that was counted.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/shape_sizes.hpp>
#include <dpgather/tune/axis_search.hpp>
#include <dpgather/tune/load_grid.hpp>
#include <dpgather/tune/load_histogram.hpp>
#include <dpgather/tune/lower_bound.hpp>
#include <dpgather/tune/pair_search.hpp>
#include <dpgather/tune/tune_goal.hpp>

namespace dpgather {

/// Shapes, with their expected cost in FFN rows a step (see ShapeCost; what graphs cost for being
/// there included, spread over the steps) and what no choice within the goal can undercut.
struct TunedShapes {
  std::vector<SizePair> shapes;  ///< the largest one is among them
  double cost = 0;
  double lower_bound = 0;  ///< equal to `cost` where the choice is proven to be the best

  [[nodiscard]] ShapeSizes sizes(const ShapeCost& by) const { return ShapeSizes(shapes, by); }
};

/// Finds the shapes that cost least for the steps of a histogram. Deterministic: ranks with the same
/// histogram and goal find the same shapes. Steps above the largest shape are
/// left out.
class SizeTuner {
 public:
  /// At most this many distinct steps are searched; more are made coarser first, upwards.
  static constexpr std::int64_t most_steps = 2048;

  explicit SizeTuner(TuneGoal goal) : goal_(std::move(goal)) { goal_.check(); }

  [[nodiscard]] const TuneGoal& goal() const { return goal_; }

  /// Shapes (size, W * size), as MAX_LEN takes: the optimum, exact. With a byte budget for graphs of
  /// different sizes it is the best found, with a bound. n sizes and k shapes take O(k n log n): on
  /// a 2-core machine 8,192 sizes with k = 256 take about 0.1 s.
  [[nodiscard]] TunedShapes one_axis(std::span<const LoadEntry> entries) const {
    const detail::LoadGrid grid(goal_, entries);
    const auto found = detail::AxisSearch(grid).find();
    TunedShapes tuned{.shapes = {},
                      .cost = grid.per_step(found.cost),
                      .lower_bound = grid.per_step(found.lower_bound)};
    for (const std::int64_t size : found.sizes)
      tuned.shapes.push_back({size, size * goal_.cost.ranks});
    return tuned;
  }

  /// Shapes with an axis of its own for the sum: the best found, never worse than `one_axis` under
  /// the same goal without a padding bound.
  [[nodiscard]] TunedShapes two_axes(std::span<const LoadEntry> entries) const {
    if (std::ssize(entries) <= most_steps) {
      const detail::LoadGrid grid(goal_, entries);
      return search(grid, grid);
    }
    const LoadHistogram coarse(
        {.cost = goal_.cost, .largest = goal_.largest_pair(), .capacity = most_steps}, entries);
    return search(detail::LoadGrid(goal_, coarse.entries()),
                  detail::LoadGrid(goal_, entries, coarse.unit()));
  }

 private:
  /// Elementary operations for each search and for the bound: in all less than a second on a 2-core
  /// machine, whatever the sizes.
  static constexpr std::int64_t search_work = 100'000'000;

  /// `low` has the steps of `grid` or smaller ones.
  [[nodiscard]] TunedShapes search(const detail::LoadGrid& grid,
                                   const detail::LoadGrid& low) const {
    const std::vector<SizePair> fixed = detail::fixed_pairs(goal_);
    const detail::PairSet none(grid, fixed);
    require(none.allowed(), detail::tune_context,
            "the largest shape and those of the padding bound are ", fixed.size(), " of ",
            none.bytes(), " bytes, max_shapes is ", goal_.max_shapes, " and byte_budget ",
            goal_.byte_budget);
    detail::PairSet best = detail::improved(none, grid, search_work);
    if (goal_.padding.percent == 0) {
      detail::PairSet start = none;
      for (const std::int64_t size : detail::AxisSearch(grid).find().sizes)
        start.add({size, size * goal_.cost.ranks});
      start = detail::improved(std::move(start), grid, search_work);
      if (start.cost() < best.cost()) best = std::move(start);
    }
    detail::LowerBound bound(low, fixed, goal_.max_shapes - std::ssize(fixed));
    const bool same = &low == &grid;
    const std::int64_t known = same ? best.cost() : detail::PairSet(low, fixed_and(best)).cost();
    const detail::PairSet priced(low, fixed_and(best));
    return {.shapes = fixed_and(best),
            .cost = grid.per_step(best.cost()),
            .lower_bound = low.per_step(bound.find(priced.prices(), known, search_work))};
  }
  static std::vector<SizePair> fixed_and(const detail::PairSet& set) {
    return {set.shapes().begin(), set.shapes().end()};
  }

  TuneGoal goal_;
};

}  // namespace dpgather
