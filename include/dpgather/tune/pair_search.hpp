// Searches shapes with two axes: the best found, not proven to be the best.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <dpgather/tune/load_grid.hpp>
#include <dpgather/tune/tune_goal.hpp>

namespace dpgather::detail {

/// A set of shapes, and what every step pays with them.
class PairSet {
 public:
  PairSet(const LoadGrid& grid, std::vector<SizePair> fixed)
      : grid_(&grid), fixed_(fixed.size()), shapes_(std::move(fixed)) {
    assign();
  }

  /// The fixed ones, then the others by global, then local size.
  [[nodiscard]] std::span<const SizePair> shapes() const { return shapes_; }
  [[nodiscard]] std::span<const std::int64_t> prices() const { return price_; }
  /// First shape that may be dropped.
  [[nodiscard]] std::size_t fixed() const { return fixed_; }
  [[nodiscard]] std::int64_t cost() const { return cost_; }
  [[nodiscard]] bool allowed() const {
    const TuneGoal& goal = grid_->goal();
    if (std::ssize(shapes_) > goal.max_shapes) return false;
    return goal.byte_budget == 0 || bytes() <= goal.byte_budget;
  }
  [[nodiscard]] std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const SizePair& shape : shapes_) sum += grid_->goal().bytes(shape);
    return sum;
  }

  void add(const SizePair& shape) {
    if (std::find(shapes_.begin(), shapes_.end(), shape) != shapes_.end()) return;
    shapes_.push_back(shape);
    assign();
  }
  /// Removes `count` shapes from `first` on, in the order of `shapes`.
  void remove(std::size_t first, std::size_t count) {
    const auto at = shapes_.begin() + static_cast<std::ptrdiff_t>(first);
    shapes_.erase(at, at + static_cast<std::ptrdiff_t>(count));
    assign();
  }
  /// Adds what saves most of what there is room for; false if nothing saves more than a graph
  /// costs.
  bool add_best(bool only_if_allowed) {
    const TuneGoal& goal = grid_->goal();
    if (only_if_allowed && std::ssize(shapes_) >= goal.max_shapes) return false;
    const bool by_bytes = only_if_allowed && goal.byte_budget > 0;
    const std::int64_t room = by_bytes ? goal.byte_budget - bytes() : 0;
    SizePair best;
    std::int64_t most = grid_->graph_cost();
    grid_->savings(price_, [&](std::size_t local, std::size_t global, std::int64_t saved) {
      if (saved <= most) return;
      const SizePair shape = grid_->at(local, global);
      if (by_bytes && goal.bytes(shape) > room) return;
      most = saved, best = shape;
    });
    if (most == grid_->graph_cost()) return false;
    add(best);
    return true;
  }
  /// Drops the shape that is missed least (for each byte, if bytes are what is short). False if all
  /// are fixed.
  bool drop_least() {
    if (shapes_.size() == fixed_) return false;
    const TuneGoal& goal = grid_->goal();
    const bool by_bytes = goal.byte_budget > 0 && std::ssize(shapes_) <= goal.max_shapes;
    std::vector<std::int64_t> missed(shapes_.size());
    for (std::size_t i = 0; i < price_.size(); ++i)
      missed[owner_[i]] += grid_->points()[i].weight * (next_price_[i] - price_[i]);
    std::size_t least = fixed_;
    double least_missed = -1;
    for (std::size_t s = fixed_; s < shapes_.size(); ++s) {
      double by = static_cast<double>(missed[s]);
      if (by_bytes) by /= static_cast<double>(std::max<std::int64_t>(goal.bytes(shapes_[s]), 1));
      if (least_missed < 0 || by < least_missed) least = s, least_missed = by;
    }
    remove(least, 1);
    return true;
  }
  /// Every free shape gets as small as the steps that take it allow; one that none takes goes.
  void shrink() {
    std::vector<SizePair> joined(shapes_.size());
    for (std::size_t i = 0; i < price_.size(); ++i) {
      SizePair& join = joined[owner_[i]];
      const SizePair step = grid_->size(grid_->points()[i]);
      join = {std::max(join.local, step.local), std::max(join.global, step.global)};
    }
    std::size_t kept = fixed_;
    for (std::size_t s = fixed_; s < shapes_.size(); ++s)
      if (joined[s].local > 0) shapes_[kept++] = joined[s];
    shapes_.resize(kept);
    std::sort(shapes_.begin() + static_cast<std::ptrdiff_t>(fixed_), shapes_.end(),
              [](const SizePair& a, const SizePair& b) {
                return a.global != b.global ? a.global < b.global : a.local < b.local;
              });
    assign();
  }

 private:
  /// Of each step the cheapest shape that holds it, and the price of the next cheapest.
  void assign() {
    const TuneGoal& goal = grid_->goal();
    order_.resize(shapes_.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      const std::int64_t of_a = goal.cost.of(shapes_[a]), of_b = goal.cost.of(shapes_[b]);
      return of_a != of_b ? of_a < of_b : a < b;
    });
    const auto points = grid_->points();
    price_.assign(points.size(), goal.cost.of(goal.largest_pair()));
    next_price_ = price_;
    owner_.assign(points.size(), 0);
    cost_ = grid_->graph_cost() * std::ssize(shapes_);
    for (std::size_t i = 0; i < points.size(); ++i) {
      const SizePair step = grid_->size(points[i]);
      bool held = false;
      for (const std::size_t s : order_) {
        if (!shapes_[s].holds(step)) continue;
        (held ? next_price_ : price_)[i] = goal.cost.of(shapes_[s]);
        if (held) break;
        owner_[i] = s;
        held = true;
      }
      cost_ += points[i].weight * price_[i];
    }
  }

  const LoadGrid* grid_;
  std::size_t fixed_;
  std::vector<SizePair> shapes_;
  std::vector<std::size_t> order_, owner_;
  std::vector<std::int64_t> price_, next_price_;
  std::int64_t cost_ = 0;
};

/// Local search from a start: shapes are added where they save most and dropped where they are
/// missed least; then 1 to 3 neighbours at a time make room for as many others, as long as that
/// helps and `work` operations last. Deterministic.
[[nodiscard]] inline PairSet improved(PairSet start, const LoadGrid& grid, std::int64_t work) {
  while (!start.allowed() && start.drop_least()) continue;
  start.shrink();
  PairSet best = start;
  const std::int64_t step_work =
      grid.work() * 4 + std::ssize(grid.points()) * (grid.goal().max_shapes + 8);
  const auto better = [&best, &work, step_work](PairSet& trial, std::size_t steps) {
    work -= step_work * static_cast<std::int64_t>(steps);
    if (!trial.allowed()) return false;
    trial.shrink();
    if (trial.cost() >= best.cost()) return false;
    best = trial;
    return true;
  };
  for (bool again = true; again && work > 0;) {
    again = false;
    const auto may_add = [&] {
      return work > 0 || std::ssize(best.shapes()) < grid.goal().max_shapes;
    };
    for (PairSet trial = best; may_add(); trial = best) {
      if (!trial.add_best(false)) break;
      while (!trial.allowed() && trial.drop_least()) continue;
      if (better(trial, 1)) continue;
      trial = best;  // what saves most may be too large for the budget
      if (!trial.add_best(true) || !better(trial, 1)) break;
    }
    for (std::size_t several = 1; several <= 3 && !again; ++several)
      for (std::size_t s = best.fixed(); s + several <= best.shapes().size() && work > 0; ++s) {
        PairSet trial = best;
        trial.remove(s, several);
        while (trial.add_best(true)) continue;
        again = better(trial, several) || again;
      }
  }
  return best;
}

}  // namespace dpgather::detail
