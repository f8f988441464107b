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
  double lower_bound = 0;  ///< equal to `cost` where the choice is proven best, 0 if not asked for

  [[nodiscard]] ShapeSizes sizes(const ShapeCost& by) const { return ShapeSizes(shapes, by); }
};

/// Whether to find what no choice can undercut, too, which takes as long as finding shapes.
enum class Bound : std::uint8_t { found, left_out };

/// Finds the shapes that cost least for the steps of a histogram. A pure function on whole numbers:
/// ranks with the same histogram and goal find the same shapes. Steps above the largest shape are
/// left out.
class SizeTuner {
 public:
  explicit SizeTuner(TuneGoal goal) : goal_(std::move(goal)) { goal_.check(); }

  [[nodiscard]] const TuneGoal& goal() const { return goal_; }

  /// Shapes (size, W * size), as MAX_LEN takes: the optimum, exact. With a byte budget for graphs of
  /// unequal bytes it is the best found, with a bound. n sizes and k shapes take O(k n log n) time:
  /// 8,192 sizes with k = 256 took 0.2 s on one core.
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

  /// Shapes with an axis of their own for the sum: the best found, without a padding bound never
  /// worse than `one_axis`. Distinct steps that are more than can be searched in about a second are
  /// made coarser first, upwards, and `cost` is then of the coarser steps. The bound leaves the byte
  /// budget out. 700 steps with k = 36 took 0.4 s on one core, 20,000 with k = 256 1 to 1.5 s.
  /// `Bound::left_out` leaves `lower_bound` at 0.
  [[nodiscard]] TunedShapes two_axes(std::span<const LoadEntry> entries,
                                     Bound bound = Bound::found) const {
    const detail::LoadGrid grid(goal_, entries);
    if (is_quick(grid)) return search(grid, grid, bound);
    for (std::int64_t capacity = 2048;; capacity /= 2) {
      const LoadHistogram coarse(
          {.cost = goal_.cost, .largest = goal_.largest_pair(), .capacity = capacity}, entries);
      const detail::LoadGrid up(goal_, coarse.entries());
      if (is_quick(up) || capacity == 64)
        return search(up, detail::LoadGrid(goal_, entries, coarse.unit()), bound);
    }
  }

 private:
  /// Elementary operations for search and for bound: some tenths of a second each.
  static constexpr std::int64_t search_work = 150'000'000;

  [[nodiscard]] bool is_quick(const detail::LoadGrid& grid) const {
    return grid.work() <= search_work / goal_.max_shapes;
  }
  /// `low` has the steps of `grid` or smaller ones.
  [[nodiscard]] TunedShapes search(const detail::LoadGrid& grid, const detail::LoadGrid& low,
                                   Bound wanted) const {
    const std::vector<SizePair> fixed = detail::fixed_pairs(goal_);
    const detail::PairSet none(grid, fixed);
    require(std::ssize(fixed) <= goal_.max_shapes, detail::tune_context, fixed.size(),
            " shapes are needed to keep the padding of every step within ", goal_.padding.percent,
            " %, max_shapes is ", goal_.max_shapes);
    require(none.allowed(), detail::tune_context,
            "the largest shape and those of the padding bound take ", none.bytes(),
            " bytes, byte_budget is ", goal_.byte_budget);
    detail::PairSet best = detail::improved(none, grid, search_work);
    if (goal_.padding.percent == 0) {
      detail::PairSet start = none;
      for (const std::int64_t size : detail::AxisSearch(grid).find().sizes)
        start.add({size, size * goal_.cost.ranks});
      start = detail::improved(std::move(start), grid, search_work);
      if (start.cost() < best.cost()) best = std::move(start);
    }
    const std::vector<SizePair> shapes(best.shapes().begin(), best.shapes().end());
    if (wanted == Bound::left_out)
      return {.shapes = shapes, .cost = grid.per_step(best.cost()), .lower_bound = 0};
    detail::LowerBound bound(low, fixed, goal_.max_shapes - std::ssize(fixed));
    const detail::PairSet there(low, shapes);
    return {.shapes = shapes,
            .cost = grid.per_step(best.cost()),
            .lower_bound = low.per_step(bound.find(there.prices(), there.cost(), search_work))};
  }

  TuneGoal goal_;
};

}  // namespace dpgather
