// What no choice of shapes can undercut.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <dpgather/tune/load_grid.hpp>

namespace dpgather::detail {

/// Lagrangian relaxation of "every step takes exactly one shape": for any prices, the sum of weight
/// * price, minus the largest savings at those prices of as many shapes as are allowed, is a lower
/// bound, since a choice of shapes costs at least that. Each bound is computed in whole numbers and
/// is so proven; the subgradient steps that look for better prices are in floating point.
/// `free_shapes` may be chosen beside `fixed`. Without bytes: a bound without the budget is a bound
/// with it.
class LowerBound {
 public:
  LowerBound(const LoadGrid& grid, std::span<const SizePair> fixed, std::int64_t free_shapes)
      : grid_(grid),
        fixed_(fixed.begin(), fixed.end()),
        free_(static_cast<std::size_t>(free_shapes)) {}

  /// From the prices of a known choice that costs `known`.
  [[nodiscard]] std::int64_t find(std::span<const std::int64_t> start, std::int64_t known,
                                  std::int64_t work) {
    prices_.assign(start.begin(), start.end());
    std::vector<std::int64_t> best_prices = prices_;
    const std::int64_t rounds = std::clamp<std::int64_t>(work / (4 * grid_.work()), 10, 600);
    std::int64_t best = 0;
    double pace = 1.0;
    int since_better = 0;
    for (std::int64_t round = 0; round < rounds && best < known; ++round) {
      const std::int64_t bound = evaluate();
      if (bound > best) {
        best = bound, best_prices = prices_, since_better = 0;
      } else if (++since_better >= 12) {
        pace *= 0.6, since_better = 0;
        prices_ = best_prices;
        (void)evaluate();
      }
      move(pace * static_cast<double>(known - bound));
    }
    return std::min(best, known);
  }

 private:
  struct Saving {
    std::int64_t saved;
    SizePair shape;
  };

  std::int64_t evaluate() {
    const auto points = grid_.points();
    std::int64_t bound = grid_.graph_cost() * static_cast<std::int64_t>(fixed_.size());
    for (std::size_t i = 0; i < points.size(); ++i) bound += points[i].weight * prices_[i];
    savings_.clear();
    grid_.savings(prices_, [this](std::size_t local, std::size_t global, std::int64_t saved) {
      const SizePair shape = grid_.at(local, global);
      if (saved > grid_.graph_cost() &&
          std::find(fixed_.begin(), fixed_.end(), shape) == fixed_.end())
        savings_.push_back({saved - grid_.graph_cost(), shape});
    });
    const auto more = [](const Saving& a, const Saving& b) {
      return a.saved != b.saved ? a.saved > b.saved : a.shape < b.shape;
    };
    const std::size_t taken = std::min(free_, savings_.size());
    std::nth_element(savings_.begin(), savings_.begin() + static_cast<std::ptrdiff_t>(taken),
                     savings_.end(), more);
    savings_.resize(taken);
    for (const SizePair& shape : fixed_) savings_.push_back({0, shape});
    taken_.assign(points.size(), 0);
    for (const Saving& saving : savings_) {
      const std::int64_t cost = grid_.goal().cost.of(saving.shape);
      for (std::size_t i = 0; i < points.size(); ++i) {
        if (prices_[i] <= cost || !saving.shape.holds(grid_.size(points[i]))) continue;
        bound -= points[i].weight * (prices_[i] - cost);
        ++taken_[i];
      }
      bound += saving.saved == 0 ? 0 : grid_.graph_cost();
    }
    return bound;
  }
  /// A price that no shape is taken at is raised, one that several are taken at is lowered.
  void move(double gap) {
    double norm = 0;
    for (const std::int64_t taken : taken_) {
      const double off = 1.0 - static_cast<double>(taken);
      norm += off * off;
    }
    if (norm == 0) return;
    const auto points = grid_.points();
    const std::int64_t most = grid_.goal().cost.of(grid_.goal().largest_pair());
    for (std::size_t i = 0; i < prices_.size(); ++i) {
      const double by = gap / norm * (1.0 - static_cast<double>(taken_[i])) /
                        static_cast<double>(points[i].weight);
      const double limit = static_cast<double>(most);
      prices_[i] = std::clamp<std::int64_t>(
          prices_[i] + static_cast<std::int64_t>(std::llround(std::clamp(by, -limit, limit))), 0,
          most);
    }
  }

  const LoadGrid& grid_;
  std::vector<SizePair> fixed_;
  std::size_t free_;
  std::vector<std::int64_t> prices_, taken_;
  std::vector<Saving> savings_;
};

}  // namespace dpgather::detail
