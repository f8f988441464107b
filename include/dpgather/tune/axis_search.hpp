// The best sizes for shapes with one axis, within a goal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/tune/load_grid.hpp>
#include <dpgather/tune/one_axis.hpp>
#include <dpgather/tune/tune_goal.hpp>

namespace dpgather::detail {

class AxisSearch {
 public:
  struct Found {
    std::vector<std::int64_t> sizes;  ///< ascending
    std::int64_t cost = 0;            ///< as the grid scales it
    std::int64_t lower_bound = 0;
  };

  explicit AxisSearch(const LoadGrid& grid) : goal_(grid.goal()) {
    std::vector<std::int64_t> sizes{goal_.largest};
    for (const auto& point : grid.points()) sizes.push_back(grid.locals()[point.local]);
    if (goal_.padding.percent > 0)
      for (std::int64_t size = goal_.unit(); size < goal_.largest; size += goal_.unit())
        sizes.push_back(size);
    LoadGrid::sort_out(sizes);
    for (const std::int64_t size : sizes) {
      sizes_.push_back(size);
      load_.cost.push_back(goal_.cost.of(pair(size)));
      load_.open.push_back(grid.graph_cost());
      load_.first_before.push_back(first_before(size));
    }
    load_.weight.assign(sizes_.size(), 0);
    for (const auto& point : grid.points())
      load_.weight[LoadGrid::index(sizes_, grid.locals()[point.local])] += point.weight;
  }

  /// Exact, unless graphs of unequal bytes have to fit into a budget: then bytes get a price, as
  /// low as the budget allows, and the answer is the best of those that are optimal at some price.
  [[nodiscard]] Found find() {
    std::int64_t most = goal_.max_shapes;
    bool unequal = false;
    if (goal_.byte_budget > 0) {
      std::int64_t least = bytes(0);
      for (std::size_t j = 0; j < sizes_.size(); ++j) {
        unequal = unequal || bytes(j) != least;
        least = std::min(least, bytes(j));
      }
      if (least > 0) most = std::min(most, goal_.byte_budget / least);
      require(most >= 1, tune_context, "a graph takes at least ", least, " bytes, byte_budget is ",
              goal_.byte_budget);
    }
    const AxisChoice best = solve(most);
    Found found = result(best);
    if (!unequal || total_bytes(best) <= goal_.byte_budget) return found;
    return by_price(most, found.lower_bound);
  }

 private:
  [[nodiscard]] SizePair pair(std::int64_t size) const { return {size, size * goal_.cost.ranks}; }
  [[nodiscard]] std::int64_t bytes(std::size_t j) const { return goal_.bytes(pair(sizes_[j])); }
  [[nodiscard]] std::int64_t total_bytes(const AxisChoice& choice) const {
    std::int64_t sum = 0;
    for (const std::size_t j : choice.chosen) sum += bytes(j);
    return sum;
  }
  /// Sizes so far are those below `size`: the smallest of them that may come next below it.
  [[nodiscard]] std::size_t first_before(std::int64_t size) const {
    if (goal_.padding.percent == 0) return 0;
    std::size_t before = load_.first_before.empty() ? 0 : load_.first_before.back();
    const auto reaches = [&](std::int64_t from) {
      return next_in_chain(from, goal_.unit(), goal_.padding.percent, size) == size;
    };
    while (!reaches(before == 0 ? 0 : sizes_[before - 1])) ++before;
    return before;
  }
  [[nodiscard]] AxisChoice solve(std::int64_t most) const {
    AxisChoice choice;
    if (most >= 1) choice = AxisProgram(load_, static_cast<std::size_t>(most)).solve();
    require(!choice.chosen.empty(), tune_context, most, " shapes up to ", goal_.largest,
            " cannot keep the padding of every step within ", goal_.padding.percent, " %");
    return choice;
  }
  [[nodiscard]] Found result(const AxisChoice& choice) const {
    Found found{.sizes = {}, .cost = choice.cost, .lower_bound = choice.cost};
    for (const std::size_t j : choice.chosen) found.sizes.push_back(sizes_[j]);
    return found;
  }
  /// Bisects the price of a byte, in whole units of cost. At any price the optimum minus price *
  /// budget is a lower bound.
  [[nodiscard]] Found by_price(std::int64_t most, std::int64_t lower_bound) {
    const AxisLoad load = load_;
    const std::int64_t budget = goal_.byte_budget;
    Found best;
    const auto price_bytes = [&](std::int64_t price) {
      for (std::size_t j = 0; j < sizes_.size(); ++j)
        load_.open[j] = load.open[j] + price * std::min(bytes(j), budget + 1);
    };
    const auto at_price = [&, this](std::int64_t price) {
      price_bytes(price);
      AxisChoice choice = solve(most);
      const std::int64_t used = total_bytes(choice);
      lower_bound = std::max(lower_bound, choice.cost - price * budget);
      choice.cost -= price * used;
      if (used > budget) return false;
      if (best.sizes.empty() || choice.cost < best.cost) best = result(choice);
      return true;
    };
    best = least_bytes(most);
    const std::int64_t most_price = (std::int64_t{1} << 52) / (budget + 1);
    std::int64_t low = 0, high = 1;
    while (high <= most_price / 4 && !at_price(high)) low = high, high *= 4;
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (at_price(middle) ? high : low) = middle;
    }
    load_ = load;
    best.lower_bound = std::min(lower_bound, best.cost);
    return best;
  }
  /// The choice that needs fewest bytes, if it fits.
  [[nodiscard]] Found least_bytes(std::int64_t most) {
    const AxisLoad load = load_;
    const std::int64_t limit = (std::int64_t{1} << 50);
    for (std::size_t j = 0; j < sizes_.size(); ++j) {
      load_.cost[j] = 0;
      load_.open[j] = std::min(bytes(j), limit);
    }
    const AxisChoice choice = solve(most);
    load_ = load;
    const std::int64_t used = total_bytes(choice);
    require(used <= goal_.byte_budget, tune_context, "the smallest shapes that do take ", used,
            " bytes, byte_budget is ", goal_.byte_budget);
    Found found = result(choice);
    found.cost = cost_of(choice);
    return found;
  }
  [[nodiscard]] std::int64_t cost_of(const AxisChoice& choice) const {
    std::int64_t cost = 0;
    std::size_t next = 0;
    for (std::size_t j = 0; j < sizes_.size(); ++j) {
      cost += load_.weight[j] * load_.cost[choice.chosen[next]];
      if (choice.chosen[next] == j) cost += load_.open[j], ++next;
    }
    return cost;
  }

  const TuneGoal& goal_;
  std::vector<std::int64_t> sizes_;
  AxisLoad load_;
};

}  // namespace dpgather::detail
