#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/tune/spread.hpp>

#include "brute_force.hpp"

using namespace tune_test;

namespace {

/// The grid of what steps need, without the largest shape: some best choice lies in it.
std::vector<SizePair> joins(const TuneGoal& goal, const std::vector<LoadEntry>& entries) {
  std::set<SizePair> found;
  for (const LoadEntry& a : entries)
    for (const LoadEntry& b : entries) {
      const SizePair join{round_up(a.step.local, goal.unit()),
                          round_up(b.step.global, goal.unit())};
      if (join.global >= join.local && join.global <= goal.cost.ranks * join.local)
        found.insert(join);
    }
  found.erase(goal.largest_pair());
  return {found.begin(), found.end()};
}

void check_limits(const TuneGoal& goal, const TunedShapes& tuned) {
  REQUIRE(std::ssize(tuned.shapes) <= goal.max_shapes);
  REQUIRE(std::count(tuned.shapes.begin(), tuned.shapes.end(), goal.largest_pair()) == 1);
  if (goal.byte_budget > 0) REQUIRE(bytes(goal, tuned.shapes) <= goal.byte_budget);
  for (const SizePair& shape : tuned.shapes) {
    REQUIRE(shape.local * goal.width % goal.attn_tp == 0);
    REQUIRE(shape.global * goal.width % goal.attn_tp == 0);
    REQUIRE(goal.largest_pair().holds(shape));
  }
}

}  // namespace

TEST_CASE("two axes: within the limits, above the bound, and close to the best there is") {
  const auto seed = support::seed("two axes", 7);
  support::Random random(seed);
  double worst[2] = {1, 1}, sum[2] = {}, bound_sum[2] = {};  // without and with a byte budget
  int solved = 0, count[2] = {}, optimal[2] = {};
  while (solved < cases(400)) {
    TuneGoal goal{.cost = {.ranks = static_cast<int>(random.between(2, 4)),
                           .attention_percent = static_cast<int>(random.between(0, 100))},
                  .largest = 0,
                  .max_shapes = static_cast<int>(random.between(1, 5)),
                  .attn_tp = static_cast<int>(random.between(1, 3))};
    goal.largest = goal.unit() * random.between(2, 9);
    if (random.chance(30)) goal.rows_per_graph = random.between(0, 20);
    if (random.chance(30)) {
      goal.bytes = GraphBytes{.per_graph = random.between(0, 9),
                              .per_local = random.between(0, 2),
                              .per_global = random.between(0, 2)};
      goal.byte_budget = goal.bytes(goal.largest_pair()) + random.between(1, 60);
    }
    const auto entries = random_entries(random, goal, random.between(2, 9));
    const auto candidates = joins(goal, entries);
    if (candidates.size() > 14) continue;
    const auto best = optimum(
        goal, entries, candidates, {goal.largest_pair()}, [&](const std::vector<SizePair>& shapes) {
          return goal.byte_budget == 0 || bytes(goal, shapes) <= goal.byte_budget;
        });
    const SizeTuner tuner(goal);
    const TunedShapes tuned = tuner.two_axes(entries);
    CAPTURE(seed);
    CAPTURE(solved);
    check_limits(goal, tuned);
    const double exact = per_step(*best, entries);
    REQUIRE(tuned.cost ==
            doctest::Approx(per_step(cost(goal, entries, tuned.shapes), entries)).epsilon(1e-12));
    REQUIRE(tuned.cost >= exact * (1 - 1e-12));
    REQUIRE(tuned.lower_bound <= exact * (1 + 1e-12));
    REQUIRE(tuned.cost <= tuner.one_axis(entries).cost * (1 + 1e-12));
    const double ratio = tuned.cost / exact;
    const int by_bytes = goal.byte_budget > 0;
    worst[by_bytes] = std::max(worst[by_bytes], ratio);
    sum[by_bytes] += ratio;
    bound_sum[by_bytes] += tuned.lower_bound / exact;
    optimal[by_bytes] += ratio < 1 + 1e-9;
    ++count[by_bytes];
    ++solved;
  }
  for (const int by_bytes : {0, 1}) {
    sum[by_bytes] /= count[by_bytes], bound_sum[by_bytes] /= count[by_bytes];
    std::printf(
        "two axes%s: %d of %d optimal, cost / optimum %.4f on average, %.4f at most; bound / "
        "optimum %.4f on average\n",
        by_bytes == 0 ? "" : " by bytes", optimal[by_bytes], count[by_bytes], sum[by_bytes],
        worst[by_bytes], bound_sum[by_bytes]);
  }
  CHECK(sum[0] < 1.002);
  CHECK(worst[0] < 1.3);
  CHECK(bound_sum[0] > 0.97);
  CHECK(sum[1] < 1.01);
}

TEST_CASE("two axes: a padding bound holds for steps that were never seen") {
  const auto seed = support::seed("two axes padding", 8);
  support::Random random(seed);
  for (int round = 0; round < cases(150); ++round) {
    TuneGoal goal{
        .cost = {.ranks = static_cast<int>(random.between(1, 8))},
        .largest = 0,
        .max_shapes = 40,
        .attn_tp = static_cast<int>(random.between(1, 3)),
        .padding = {
            .percent = static_cast<int>(random.between(130, 300)),
            .skew_percent = random.chance(50) ? static_cast<int>(random.between(100, 400)) : 0}};
    goal.largest = goal.unit() * random.between(1, 12);
    const auto entries = random_entries(random, goal, random.between(0, 60));
    const TunedShapes tuned = SizeTuner(goal).two_axes(entries);
    check_limits(goal, tuned);
    const ShapeSizes sizes = tuned.sizes({.ranks = goal.cost.ranks, .attention_percent = 0});
    const auto [most_local, most_global] = goal.largest_pair();
    for (std::int64_t local = goal.unit(); local <= most_local; local += goal.unit())
      for (std::int64_t global = local; global <= most_global; global += goal.unit()) {
        if (global > goal.cost.ranks * local) break;
        const std::int64_t skew = goal.padding.skew_percent;
        if (skew > 0 && local * 100 * goal.cost.ranks > skew * global) continue;
        const auto taken = sizes.fit_pair(local, global);
        CAPTURE(seed);
        CAPTURE(local);
        CAPTURE(global);
        REQUIRE(taken.has_value());
        REQUIRE(taken->global * 100 <= std::max(global * goal.padding.percent, global * 100));
      }
  }
}

TEST_CASE("two axes: the same shapes from any order of entries, and again") {
  support::Random random(support::seed("two axes order", 9));
  const TuneGoal goal{.cost = {.ranks = 8}, .largest = 40, .max_shapes = 8};
  auto entries = random_entries(random, goal, support::sanitized ? 60 : 200);
  const TunedShapes tuned = SizeTuner(goal).two_axes(entries);
  std::reverse(entries.begin(), entries.end());
  CHECK(SizeTuner(goal).two_axes(entries).shapes == tuned.shapes);
  CHECK(tuned.lower_bound > 0.97 * tuned.cost);
}

TEST_CASE("two axes: more steps than can be searched are made coarser, upwards") {
  support::Random random(10);
  const TuneGoal goal{
      .cost = {.ranks = 8}, .largest = 8192, .max_shapes = support::sanitized ? 24 : 256};
  std::vector<LoadEntry> entries;
  for (int i = 0; i < 20000; ++i) {
    const std::int64_t local = random.between(1, 8192);
    entries.push_back({{local, random.between(local, 8 * local)}});
  }
  const auto start = std::chrono::steady_clock::now();
  const TunedShapes tuned = SizeTuner(goal).two_axes(entries);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("two axes, 20,000 steps up to 8192, %lld shapes: %.2f s, %.3f times the bound\n",
              static_cast<long long>(goal.max_shapes), seconds.count(),
              tuned.cost / tuned.lower_bound);
  check_limits(goal, tuned);
  CHECK(tuned.cost >= per_step(cost(goal, entries, tuned.shapes), entries) * (1 - 1e-12));
  CHECK(tuned.lower_bound <= tuned.cost);
  CHECK(tuned.cost <= SizeTuner(goal).one_axis(entries).cost);
}

TEST_CASE("two axes: steps above the largest shape, and none at all, are ordinary input") {
  const TuneGoal goal{.cost = {.ranks = 2}, .largest = 4};
  const std::vector<LoadEntry> entries{{{5, 5}}, {{2, 3}}};
  CHECK(SizeTuner(goal).two_axes(entries).shapes == std::vector<SizePair>{{4, 8}, {2, 3}});
  CHECK(SizeTuner(goal).two_axes({}).shapes == std::vector<SizePair>{{4, 8}});
  CHECK(SizeTuner(goal).two_axes({}).cost == 0);
}

TEST_CASE("a spread histogram has the same weight around the same steps") {
  LoadHistogram histogram({.cost = {.ranks = 4}, .largest = {110, 440}});
  histogram.add(100, 200);
  const LoadHistogram wide = spread(histogram, 20);
  std::int64_t sum = 0;
  for (const LoadEntry& entry : wide.entries()) sum += entry.weight;
  CHECK(sum == LoadEntry::one_step);
  CHECK(wide.entries().front().step == SizePair{80, 160});
  CHECK(wide.entries().back().step == SizePair{110, 240});
  CHECK(spread(histogram, 0).fingerprint() == histogram.fingerprint());
  CHECK_THROWS_WITH_AS((void)spread(histogram, 100), "[spread] percent is 100, must be 0 to 99",
                       InvalidArgument);
}

TEST_CASE("a goal outside its limits is refused with value and limit") {
  CHECK_THROWS_WITH_AS(SizeTuner({.max_shapes = 0}),
                       "[SizeTuner] max_shapes is 0, must be 1 to 1024", InvalidArgument);
  CHECK_THROWS_WITH_AS(
      SizeTuner({.largest = 6, .attn_tp = 4}),
      "[SizeTuner] largest is 6, must be a multiple of 4 for attn_tp 4 and width 1",
      InvalidArgument);
  CHECK_NOTHROW(SizeTuner({.largest = 6, .attn_tp = 4, .width = 2}));
  CHECK_THROWS_AS(SizeTuner({.largest = 0}), InvalidArgument);
  CHECK_THROWS_AS(SizeTuner({.cost = {.ranks = 1 << 20}, .largest = max_rows}), InvalidArgument);
  CHECK_THROWS_AS(SizeTuner({.rows_per_graph = -1}), InvalidArgument);
  CHECK_THROWS_AS(SizeTuner({.attn_tp = 0}), InvalidArgument);
  CHECK_THROWS_WITH_AS(SizeTuner({.padding = {.percent = 90}}),
                       "[SizeTuner] padding.percent is 90, must be 0 (no bound) or 100 to 10000",
                       InvalidArgument);
  CHECK_THROWS_AS(SizeTuner({.padding = {.percent = 150, .skew_percent = 50}}), InvalidArgument);
  CHECK_THROWS_WITH_AS(SizeTuner({.byte_budget = 5, .bytes = nullptr}),
                       "[SizeTuner] byte_budget is 5, must be at least 0, and needs `bytes`",
                       InvalidArgument);
  const SizeTuner few({.max_shapes = 3, .padding = {.percent = 110}});
  CHECK_THROWS_WITH_AS((void)few.one_axis({}),
                       "[SizeTuner] 3 shapes up to 256 cannot keep the padding of every step "
                       "within 110 %",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS((void)few.two_axes({}),
                       "[SizeTuner] 39 shapes are needed to keep the padding of every step within "
                       "110 %, max_shapes is 3",
                       InvalidArgument);
  const SizeTuner poor({.byte_budget = 9, .bytes = GraphBytes{.per_graph = 10}});
  CHECK_THROWS_WITH_AS((void)poor.two_axes({}),
                       "[SizeTuner] the largest shape and those of the padding bound take 10 "
                       "bytes, byte_budget is 9",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS((void)poor.one_axis({}),
                       "[SizeTuner] a graph takes at least 10 bytes, byte_budget is 9",
                       InvalidArgument);
}
