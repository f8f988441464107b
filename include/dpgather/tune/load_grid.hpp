// Steps on a grid of the sizes worth choosing, and what every shape of the grid would save.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <dpgather/plan/counts.hpp>
#include <dpgather/tune/load_histogram.hpp>
#include <dpgather/tune/tune_goal.hpp>

namespace dpgather::detail {

/// Some best choice of shapes has only sizes that some step needs: any shape can shrink to what the
/// steps that take it need. So the grid is all (local, global) of those. Weights are halved until
/// all steps at the largest shape cost less than 2^50, so that no sum leaves 64 bits.
class LoadGrid {
 public:
  struct Point {
    std::size_t local = 0, global = 0;  ///< indices
    std::int64_t weight = 0;
  };

  /// Steps above the largest shape are left out. With a `floor_unit` above 1 every step is rounded
  /// down to multiples of it, as a lower bound may.
  LoadGrid(const TuneGoal& goal, std::span<const LoadEntry> entries, SizePair floor_unit = {1, 1})
      : goal_(goal) {
    std::vector<LoadEntry> steps;
    steps.reserve(entries.size());
    std::int64_t total = 0;
    for (const LoadEntry& entry : entries) {
      if (!goal.largest_pair().holds(entry.step) || entry.step.local < 1 || entry.weight < 1)
        continue;
      steps.push_back({aligned(down(entry.step, floor_unit)), entry.weight});
      total += (std::min(entry.weight, LoadHistogram::most_weight) >> 16) + 1;
    }
    const std::int64_t most = (std::int64_t{1} << 34) / goal.cost.of(goal.largest_pair());
    while ((total >> halvings_) > most) ++halvings_;
    for (const LoadEntry& step : steps) {
      locals_.push_back(step.step.local);
      globals_.push_back(step.step.global);
    }
    sort_out(locals_);
    sort_out(globals_);
    std::sort(steps.begin(), steps.end(),
              [](const LoadEntry& a, const LoadEntry& b) { return a.step < b.step; });
    for (const LoadEntry& step : steps) {
      const Point point{index(locals_, step.step.local), index(globals_, step.step.global),
                        scaled(step.weight)};
      if (!points_.empty() && points_.back().local == point.local &&
          points_.back().global == point.global)
        points_.back().weight += point.weight;
      else
        points_.push_back(point);
    }
  }

  [[nodiscard]] const TuneGoal& goal() const { return goal_; }
  /// Ascending by local, then global index.
  [[nodiscard]] std::span<const Point> points() const { return points_; }
  [[nodiscard]] std::span<const std::int64_t> locals() const { return locals_; }
  [[nodiscard]] std::span<const std::int64_t> globals() const { return globals_; }
  [[nodiscard]] SizePair at(std::size_t local, std::size_t global) const {
    return {locals_[local], globals_[global]};
  }
  [[nodiscard]] SizePair size(const Point& point) const { return at(point.local, point.global); }
  [[nodiscard]] std::int64_t scaled(std::int64_t weight) const {
    return std::max<std::int64_t>(weight >> halvings_, 1);
  }
  /// What a graph costs for being there, in hundredths of an FFN row, scaled as weights are.
  [[nodiscard]] std::int64_t graph_cost() const {
    if (goal_.rows_per_graph == 0) return 0;
    return scaled(100 * LoadEntry::one_step * goal_.rows_per_graph);
  }
  /// Weight of all steps, scaled.
  [[nodiscard]] std::int64_t weight() const {
    std::int64_t sum = 0;
    for (const Point& point : points_) sum += point.weight;
    return sum;
  }
  /// A scaled cost of all steps as FFN rows a step; 0 if there are none.
  [[nodiscard]] double per_step(std::int64_t cost) const {
    return points_.empty() ? 0 : static_cast<double>(cost) / static_cast<double>(weight()) / 100;
  }
  /// Elementary operations of one `savings`.
  [[nodiscard]] std::int64_t work() const {
    return std::ssize(locals_) * (std::ssize(points_) + std::ssize(globals_)) + 1;
  }

  /// Calls `see(local, global, saved)` for every shape of the grid that saves something: over the
  /// steps that it holds, weight * (price - cost of the shape) where that is positive, with
  /// `prices[i]` what step i pays today. Each step joins the sum at its own global size and leaves
  /// it where the shape costs as much as it pays, so a row of the grid is one pass over both.
  template <class See>
  void savings(std::span<const std::int64_t> prices, const See& see) const {
    std::vector<std::int64_t> weight(globals_.size() + 1), paid(globals_.size() + 1);
    for (std::size_t local = 0; local < locals_.size(); ++local) {
      std::fill(weight.begin(), weight.end(), 0);
      std::fill(paid.begin(), paid.end(), 0);
      const std::int64_t attention = goal_.cost.of({locals_[local], 0});
      std::size_t first = globals_.size();
      for (std::size_t i = 0; i < points_.size() && points_[i].local <= local; ++i) {
        const Point& point = points_[i];
        const std::int64_t too_dear =
            ceil_div(std::max<std::int64_t>(prices[i] - attention, 0), 100);
        if (too_dear <= globals_[point.global]) continue;
        weight[point.global] += point.weight;
        paid[point.global] += point.weight * prices[i];
        first = std::min(first, point.global);
        const std::size_t end = index(globals_, too_dear);
        weight[end] -= point.weight;
        paid[end] -= point.weight * prices[i];
      }
      std::int64_t weight_here = 0, paid_here = 0;
      for (std::size_t global = first; global < globals_.size(); ++global) {
        weight_here += weight[global];
        paid_here += paid[global];
        if (globals_[global] < locals_[local]) continue;
        if (globals_[global] > goal_.cost.ranks * locals_[local]) break;
        const std::int64_t saved = paid_here - weight_here * goal_.cost.of(at(local, global));
        if (saved > 0) see(local, global, saved);
      }
    }
  }

  /// Ascending, each value once.
  static void sort_out(std::vector<std::int64_t>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  }
  /// Of the first value at or above.
  static std::size_t index(const std::vector<std::int64_t>& values, std::int64_t value) {
    return static_cast<std::size_t>(std::lower_bound(values.begin(), values.end(), value) -
                                    values.begin());
  }

 private:
  static SizePair down(const SizePair& step, const SizePair& unit) {
    return {std::max<std::int64_t>(step.local / unit.local * unit.local, 1),
            std::max<std::int64_t>(step.global / unit.global * unit.global, 1)};
  }
  /// Multiples of the unit with local <= global <= W * local.
  [[nodiscard]] SizePair aligned(const SizePair& step) const {
    const std::int64_t local = round_up(step.local, goal_.unit());
    const std::int64_t global = round_up(step.global, goal_.unit());
    return {local, std::clamp(global, local, goal_.cost.ranks * local)};
  }
  const TuneGoal& goal_;
  std::vector<std::int64_t> locals_, globals_;
  std::vector<Point> points_;
  int halvings_ = 0;
};

}  // namespace dpgather::detail
