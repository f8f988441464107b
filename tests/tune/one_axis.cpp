#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <doctest/doctest.h>

#include "brute_force.hpp"

using namespace tune_test;

namespace {

std::vector<std::int64_t> locals(const TunedShapes& tuned) {
  std::vector<std::int64_t> sizes;
  for (const SizePair& shape : tuned.shapes) sizes.push_back(shape.local);
  return sizes;
}

/// All sizes below the largest as (size, W * size).
std::vector<SizePair> all_below_largest(const TuneGoal& goal) {
  std::vector<SizePair> pairs;
  for (std::int64_t size = goal.unit(); size < goal.largest; size += goal.unit())
    pairs.push_back({size, size * goal.cost.ranks});
  return pairs;
}

}  // namespace

TEST_CASE("one axis: the sizes are the best there are") {
  const auto seed = support::seed("one axis", 4);
  support::Random random(seed);
  int impossible = 0;
  for (int round = 0; round < cases(400); ++round) {
    TuneGoal goal{.cost = {.ranks = static_cast<int>(random.between(1, 4)),
                           .attention_percent = static_cast<int>(random.between(0, 100))},
                  .largest = 0,
                  .max_shapes = static_cast<int>(random.between(1, 6)),
                  .attn_tp = static_cast<int>(random.between(1, 4)),
                  .width = static_cast<int>(random.between(1, 3))};
    goal.largest = goal.unit() * random.between(1, goal.unit() == 1 ? 10 : 6);
    if (random.chance(30)) goal.rows_per_graph = random.between(0, 20);
    if (random.chance(40)) goal.padding.percent = static_cast<int>(random.between(100, 300));
    if (random.chance(30)) {  // graphs of equal size: a number of graphs in other words
      goal.bytes = GraphBytes{.per_graph = 7};
      goal.byte_budget = random.between(7, 50);
    }
    const auto entries = random_entries(random, goal, random.between(1, 12));
    const auto best =
        optimum(goal, entries, all_below_largest(goal), {goal.largest_pair()},
                [&](const std::vector<SizePair>& shapes) {
                  return (goal.byte_budget == 0 || bytes(goal, shapes) <= goal.byte_budget) &&
                         keeps_bound(goal, shapes, true);
                });
    CAPTURE(seed);
    CAPTURE(round);
    if (!best) {
      ++impossible;
      REQUIRE_THROWS_AS((void)SizeTuner(goal).one_axis(entries), InvalidArgument);
      continue;
    }
    const TunedShapes tuned = SizeTuner(goal).one_axis(entries);
    REQUIRE(cost(goal, entries, tuned.shapes) == *best);
    REQUIRE(tuned.cost == doctest::Approx(per_step(*best, entries)).epsilon(1e-12));
    REQUIRE(tuned.lower_bound == tuned.cost);
    REQUIRE(std::ssize(tuned.shapes) <= goal.max_shapes);
    REQUIRE(keeps_bound(goal, tuned.shapes, true));
    REQUIRE(tuned.shapes.back() == goal.largest_pair());
    REQUIRE(std::is_sorted(tuned.shapes.begin(), tuned.shapes.end()));
    for (const SizePair& shape : tuned.shapes)
      REQUIRE(shape.local * goal.width % goal.attn_tp == 0);
  }
  CHECK(impossible > 0);
}

TEST_CASE("one axis, graphs of unequal bytes: within the budget, and never below the bound") {
  const auto seed = support::seed("one axis bytes", 5);
  support::Random random(seed);
  double worst = 1, sum = 0;
  int solved = 0, optimal = 0;
  for (int round = 0; round < cases(400); ++round) {
    TuneGoal goal{.cost = {.ranks = 2},
                  .largest = random.between(1, 10),
                  .max_shapes = static_cast<int>(random.between(1, 8)),
                  .byte_budget = 0,
                  .bytes = GraphBytes{.per_graph = random.between(0, 5),
                                      .per_local = random.between(0, 4),
                                      .per_global = random.between(0, 2)}};
    goal.byte_budget = goal.bytes(goal.largest_pair()) + random.between(1, 100);
    const auto entries = random_entries(random, goal, random.between(1, 12));
    const auto best = optimum(goal, entries, all_below_largest(goal), {goal.largest_pair()},
                              [&](const std::vector<SizePair>& shapes) {
                                return bytes(goal, shapes) <= goal.byte_budget;
                              });
    REQUIRE(best.has_value());
    const TunedShapes tuned = SizeTuner(goal).one_axis(entries);
    CAPTURE(seed);
    CAPTURE(round);
    REQUIRE(bytes(goal, tuned.shapes) <= goal.byte_budget);
    const double exact = per_step(*best, entries);
    REQUIRE(tuned.lower_bound <= exact * (1 + 1e-12));
    REQUIRE(tuned.cost >= exact * (1 - 1e-12));
    const double ratio = tuned.cost / exact;
    worst = std::max(worst, ratio), sum += ratio, ++solved;
    optimal += ratio < 1 + 1e-9;
  }
  std::printf("one axis by bytes: %d of %d optimal, cost / optimum %.4f on average, %.4f at most\n",
              optimal, solved, sum / solved, worst);
  CHECK(sum / solved < 1.03);
}

TEST_CASE("one axis: a budget that not even the largest graph fits is refused") {
  const std::vector<LoadEntry> entries{{{3, 3}}};
  const TuneGoal goal{.largest = 8,
                      .byte_budget = 9,
                      .bytes = GraphBytes{.per_graph = 1, .per_local = 1, .per_global = 1}};
  CHECK_THROWS_WITH_AS((void)SizeTuner(goal).one_axis(entries),
                       "[SizeTuner] the smallest shapes that do take 17 bytes, byte_budget is 9",
                       InvalidArgument);
}

TEST_CASE("one axis: graphs that cost more than they save are left out") {
  const std::vector<LoadEntry> entries{{{1, 1}, 10 * LoadEntry::one_step},
                                       {{2, 2}, LoadEntry::one_step}};
  TuneGoal goal{.cost = {.ranks = 1, .attention_percent = 0}, .largest = 3};
  CHECK(locals(SizeTuner(goal).one_axis(entries)) == std::vector<std::int64_t>{1, 2, 3});
  goal.rows_per_graph = 2;  // size 2 saves 1 row, in 1 step
  CHECK(locals(SizeTuner(goal).one_axis(entries)) == std::vector<std::int64_t>{1, 3});
  goal.rows_per_graph = 30;
  CHECK(locals(SizeTuner(goal).one_axis(entries)) == std::vector<std::int64_t>{3});
}

TEST_CASE("one axis: without steps the largest size is all, or a chain that keeps the bound") {
  CHECK(locals(SizeTuner({.largest = 64}).one_axis({})) == std::vector<std::int64_t>{64});
  const TuneGoal goal{.largest = 64, .padding = {.percent = 150}};
  const auto tuned = SizeTuner(goal).one_axis({});
  CHECK(keeps_bound(goal, tuned.shapes, true));
  CHECK(tuned.shapes.size() < 12);
}

TEST_CASE("one axis: lens to 8,192 and 256 sizes") {
  for (const int percent : {0, 125}) {
    const TuneGoal goal{
        .cost = {.ranks = 8}, .largest = 8192, .max_shapes = 256, .padding = {.percent = percent}};
    support::Random random(6);
    std::vector<LoadEntry> entries;
    for (std::int64_t size = 1; size <= 8192; ++size)
      entries.push_back({{size, size}, random.between(1, 1000)});
    const auto start = std::chrono::steady_clock::now();
    const TunedShapes tuned = SizeTuner(goal).one_axis(entries);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("one axis, 8192 lens, 256 sizes, padding bound %d %%: %.2f s\n", percent,
                seconds.count());
    CHECK(tuned.shapes.size() == 256);
    CHECK(keeps_bound(goal, tuned.shapes, true));
  }
}
