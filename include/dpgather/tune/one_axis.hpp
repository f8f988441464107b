// The best sizes on one axis, by dynamic programming.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace dpgather::detail {

/// Sizes to choose from, ascending, and what is known of each. The last one must be chosen.
struct AxisLoad {
  std::vector<std::int64_t> cost;         ///< of one step at that size
  std::vector<std::int64_t> weight;       ///< of the steps that need that size
  std::vector<std::int64_t> open;         ///< cost of choosing the size at all
  std::vector<std::size_t> first_before;  ///< [j]: the smallest size that may be chosen next below
                                          ///< size j, counted from 1; 0 is none. Ascending
};

struct AxisChoice {
  std::vector<std::size_t> chosen;  ///< ascending; empty if no choice of so few sizes is allowed
  std::int64_t cost = 0;
};

/// Exact: the cheapest choice of 1 to `most` of n sizes, where each step takes the smallest that
/// holds it. O(most * n * log n) time by divide and conquer, since a larger size never has a
/// smaller best predecessor (the cost is a Monge array, which `first_before` leaves intact);
/// O(most * n) memory. Ties go to fewer sizes, then to the smaller predecessor.
class AxisProgram {
 public:
  AxisProgram(const AxisLoad& load, std::size_t most)
      : load_(load), n_(load.cost.size()), most_(std::min(most, n_)), steps_(n_ + 1) {
    for (std::size_t j = 1; j <= n_; ++j) steps_[j] = steps_[j - 1] + load.weight[j - 1];
  }

  [[nodiscard]] AxisChoice solve() {
    std::vector<std::vector<std::uint32_t>> before(most_ + 1);
    best_.assign(n_ + 1, never);
    best_[0] = 0;
    reach_ = 0;
    AxisChoice choice{.chosen = {}, .cost = never};
    std::size_t best_count = 0;
    for (count_ = 1; count_ <= most_; ++count_) {
      next_.assign(n_ + 1, never);
      before[count_].assign(n_ + 1, 0);
      before_ = &before[count_];
      std::size_t reach = reach_;
      while (reach < n_ && first_before(reach + 1) <= reach_) ++reach;
      if (reach >= count_) rows(count_, reach, count_ - 1, reach_);
      best_.swap(next_);
      reach_ = reach;
      if (best_[n_] >= choice.cost) continue;
      choice.cost = best_[n_];
      best_count = count_;
    }
    if (best_count == 0) return {};
    for (std::size_t j = n_, t = best_count; j > 0; j = before[t--][j])
      choice.chosen.push_back(j - 1);
    std::reverse(choice.chosen.begin(), choice.chosen.end());
    return choice;
  }

 private:
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

  [[nodiscard]] std::size_t first_before(std::size_t j) const { return load_.first_before[j - 1]; }

  /// Best predecessors of sizes [first, last], known to lie in [low, high].
  void rows(std::size_t first, std::size_t last, std::size_t low, std::size_t high) {
    const std::size_t j = first + (last - first) / 2;
    const std::size_t from = std::max({low, first_before(j), count_ - 1});
    const std::size_t to = count_ == 1 ? 0 : std::min({high, j - 1, reach_});
    std::int64_t least = never;
    std::size_t at = from;
    for (std::size_t i = from; i <= to; ++i) {
      const std::int64_t cost = best_[i] + (steps_[j] - steps_[i]) * load_.cost[j - 1];
      if (cost < least) least = cost, at = i;
    }
    next_[j] = least + load_.open[j - 1];
    (*before_)[j] = static_cast<std::uint32_t>(at);
    if (j > first) rows(first, j - 1, low, at);
    if (j < last) rows(j + 1, last, at, high);
  }

  const AxisLoad& load_;
  std::size_t n_, most_, count_ = 0, reach_ = 0;
  std::vector<std::int64_t> steps_, best_, next_;
  std::vector<std::uint32_t>* before_ = nullptr;
};

}  // namespace dpgather::detail
