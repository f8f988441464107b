// Small random tuning problems, and their optimum by trying everything.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include <dpgather/tune/size_tuner.hpp>

#include "support/sanitized.hpp"
#include "support/seed.hpp"

namespace tune_test {

using namespace dpgather;

/// How many cases are tried: fewer under sanitizers, where each takes ten times as long.
constexpr int cases(int usual) {
  return support::sanitized ? usual / 10 : usual;
}

inline std::int64_t weight(const std::vector<LoadEntry>& entries) {
  std::int64_t sum = 0;
  for (const LoadEntry& entry : entries) sum += entry.weight;
  return sum;
}

/// In hundredths of an FFN row and by weight; each step takes the cheapest shape that holds it.
inline std::int64_t cost(const TuneGoal& goal, const std::vector<LoadEntry>& entries,
                         const std::vector<SizePair>& shapes) {
  std::int64_t sum =
      100 * goal.rows_per_graph * LoadEntry::one_step * static_cast<std::int64_t>(shapes.size());
  for (const LoadEntry& entry : entries) {
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (const SizePair& shape : shapes)
      if (shape.holds(entry.step)) least = std::min(least, goal.cost.of(shape));
    sum += entry.weight * least;
  }
  return sum;
}

inline double per_step(std::int64_t cost, const std::vector<LoadEntry>& entries) {
  return static_cast<double>(cost) / static_cast<double>(weight(entries)) / 100;
}

inline std::int64_t bytes(const TuneGoal& goal, const std::vector<SizePair>& shapes) {
  std::int64_t sum = 0;
  for (const SizePair& shape : shapes) sum += goal.bytes(shape);
  return sum;
}

/// Every len is computed at most `padding.percent` times, or one unit up.
inline bool keeps_bound(const TuneGoal& goal, const std::vector<SizePair>& shapes, bool by_local) {
  if (goal.padding.percent == 0) return true;
  const std::int64_t most = by_local ? goal.largest : goal.largest * goal.cost.ranks;
  for (std::int64_t need = goal.unit(); need <= most; need += goal.unit()) {
    std::int64_t size = std::numeric_limits<std::int64_t>::max();
    for (const SizePair& shape : shapes)
      if ((by_local ? shape.local : shape.global) >= need)
        size = std::min(size, by_local ? shape.local : shape.global);
    if (size * 100 > std::max(need * goal.padding.percent, need * 100)) return false;
  }
  return true;
}

/// The best of all subsets of `candidates` with the largest shape, of at most k, that `allowed`
/// accepts; none if there is none.
template <class Allowed>
std::optional<std::int64_t> optimum(const TuneGoal& goal, const std::vector<LoadEntry>& entries,
                                    const std::vector<SizePair>& candidates,
                                    const std::vector<SizePair>& always, const Allowed& allowed) {
  std::optional<std::int64_t> best;
  for (std::uint32_t set = 0; set < (1u << candidates.size()); ++set) {
    std::vector<SizePair> shapes = always;
    for (std::size_t i = 0; i < candidates.size(); ++i)
      if ((set >> i & 1u) != 0) shapes.push_back(candidates[i]);
    if (static_cast<std::int64_t>(shapes.size()) > goal.max_shapes || !allowed(shapes)) continue;
    const std::int64_t found = cost(goal, entries, shapes);
    best = std::min(best.value_or(found), found);
  }
  return best;
}

/// Steps in [1, largest], valid for W ranks.
inline std::vector<LoadEntry> random_entries(support::Random& random, const TuneGoal& goal,
                                             std::int64_t count) {
  LoadHistogram histogram({.cost = goal.cost, .largest = goal.largest_pair()});
  for (; count > 0; --count) {
    const std::int64_t longest = random.between(1, goal.largest);
    histogram.add(longest, random.between(longest, goal.cost.ranks * longest),
                  random.between(1, 5) * LoadEntry::one_step);
  }
  return {histogram.entries().begin(), histogram.entries().end()};
}

}  // namespace tune_test
