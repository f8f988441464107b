#include "sequence.hpp"

#include <algorithm>
#include <cstddef>

#include <support/seed.hpp>

#include "common/trace_counts.hpp"

namespace step_cost {

namespace {

std::vector<std::int64_t> draw(support::Random& random, const Options& options) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(options.ranks));
  const std::int64_t kind = random.between(0, 3), base = random.between(4, 48);
  for (auto& n : rows) {
    n = base + random.between(-3, 3);
    if (kind == 2 && random.chance(50)) n = 0;
    if (kind == 3)
      n = random.chance(100 / options.ranks) ? random.between(options.most / 4, options.most) : n;
  }
  return rows;
}

}  // namespace

Sequence make_sequence(const Options& options) {
  Sequence steps;
  if (options.counts.empty()) {
    support::Random random(options.seed);
    for (std::int64_t i = 0; i < options.steps; ++i) steps.push_back(draw(random, options));
    return steps;
  }
  const Sequence all = bench::read_trace_counts(options.counts, options.ranks);
  const auto asked = std::min<std::size_t>(static_cast<std::size_t>(options.steps), all.size());
  for (std::size_t i = 0; i < asked; ++i) steps.push_back(all[i * all.size() / asked]);
  return steps;
}

std::int64_t most_rows(const Sequence& steps) {
  std::int64_t most = 1;
  for (const auto& rows : steps) most = std::max(most, *std::max_element(rows.begin(), rows.end()));
  return most;
}

}  // namespace step_cost
