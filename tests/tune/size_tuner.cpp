// SizeTuner against plain enumeration of all choices.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/tune/size_tuner.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

std::vector<LoadEntry> draw_steps(support::Random& random, int ranks, std::int64_t largest,
                                  int most) {
  std::vector<LoadEntry> steps;
  for (int i = static_cast<int>(random.between(1, most)); i > 0; --i) {
    const std::int64_t local = random.between(1, largest);
    const std::int64_t global = random.between(local, local * ranks);
    steps.push_back({{local, global}, random.between(1, 20) * LoadEntry::one_step});
  }
  return steps;
}

/// FFN rows a step, by the definition alone: every step takes the cheapest shape that holds it.
double plain_cost(const TuneGoal& goal, const std::vector<LoadEntry>& steps,
                  const std::vector<SizePair>& shapes) {
  double cost = 0, weight = 0;
  for (const LoadEntry& step : steps) {
    double least = std::numeric_limits<double>::infinity();
    for (const SizePair& shape : shapes)
      if (shape.local >= step.step.local && shape.global >= step.step.global)
        least = std::min(least, static_cast<double>(shape.global) +
                                    goal.cost.attention_percent / 100.0 * goal.cost.ranks *
                                        static_cast<double>(shape.local));
    const double share = static_cast<double>(step.weight) / LoadEntry::one_step;
    cost += share * least;
    weight += share;
  }
  return (cost + static_cast<double>(goal.rows_per_graph) * static_cast<double>(shapes.size())) /
         weight;
}

/// The least of all choices of up to `max_shapes` of `from`, the largest always among them.
double best_of_all(const TuneGoal& goal, const std::vector<LoadEntry>& steps,
                   const std::vector<SizePair>& from) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<SizePair> chosen{goal.largest_pair()};
  const auto choose = [&](const auto& self, std::size_t next) -> void {
    best = std::min(best, plain_cost(goal, steps, chosen));
    if (static_cast<int>(chosen.size()) == goal.max_shapes) return;
    for (std::size_t i = next; i < from.size(); ++i) {
      chosen.push_back(from[i]);
      self(self, i + 1);
      chosen.pop_back();
    }
  };
  choose(choose, 0);
  return best;
}

/// All shapes that there are below the largest.
std::vector<SizePair> all_shapes(const TuneGoal& goal, bool one_axis) {
  std::vector<SizePair> shapes;
  const std::int64_t unit = goal.unit();
  for (std::int64_t local = unit; local <= goal.largest; local += unit)
    for (std::int64_t global = one_axis ? local * goal.cost.ranks : local;
         global <= local * goal.cost.ranks; global += unit)
      if (SizePair{local, global} != goal.largest_pair()) shapes.push_back({local, global});
  return shapes;
}

bool has_largest(const TuneGoal& goal, const TunedShapes& tuned) {
  return std::find(tuned.shapes.begin(), tuned.shapes.end(), goal.largest_pair()) !=
         tuned.shapes.end();
}

std::string error_of(const TuneGoal& goal, const std::vector<LoadEntry>& steps = {}) {
  try {
    const SizeTuner tuner(goal);
    static_cast<void>(tuner.two_axes(steps));
    static_cast<void>(tuner.one_axis(steps));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

constexpr double rounding = 1e-9;

}  // namespace

TEST_CASE("on one axis the sizes are the best that there are") {
  support::Random random(support::seed("one_axis", 31));
  for (int i = 0; i < 300; ++i) {
    TuneGoal goal{.cost = {.ranks = static_cast<int>(random.between(1, 4))},
                  .max_shapes = static_cast<int>(random.between(1, 4)),
                  .attn_tp = static_cast<int>(random.between(1, 2)),
                  .rows_per_graph = random.chance(50) ? random.between(1, 40) : 0};
    goal.largest = goal.unit() * random.between(2, 10);
    const auto steps = draw_steps(random, goal.cost.ranks, goal.largest, 12);
    CAPTURE(i);
    const TunedShapes tuned = SizeTuner(goal).one_axis(steps);
    const double best = best_of_all(goal, steps, all_shapes(goal, true));
    CHECK(has_largest(goal, tuned));
    CHECK(static_cast<int>(tuned.shapes.size()) <= goal.max_shapes);
    CHECK(tuned.cost == doctest::Approx(plain_cost(goal, steps, tuned.shapes)).epsilon(rounding));
    CHECK(tuned.cost == doctest::Approx(best).epsilon(rounding));
    CHECK(tuned.lower_bound == tuned.cost);
  }
}

TEST_CASE("on two axes no choice undercuts the bound, and what is found is close to the best") {
  support::Random random(support::seed("two_axes", 32));
  int found = 0, tried = 0;
  double worst = 1;
  for (; tried < 200; ++tried) {
    TuneGoal goal{.cost = {.ranks = static_cast<int>(random.between(1, 3))},
                  .largest = random.between(2, 5),
                  .max_shapes = static_cast<int>(random.between(1, 4)),
                  .rows_per_graph = random.chance(30) ? random.between(1, 20) : 0};
    const auto steps = draw_steps(random, goal.cost.ranks, goal.largest, 10);
    CAPTURE(tried);
    const TunedShapes tuned = SizeTuner(goal).two_axes(steps);
    const double best = best_of_all(goal, steps, all_shapes(goal, false));
    CHECK(has_largest(goal, tuned));
    CHECK(static_cast<int>(tuned.shapes.size()) <= goal.max_shapes);
    CHECK(tuned.cost == doctest::Approx(plain_cost(goal, steps, tuned.shapes)).epsilon(rounding));
    CHECK(tuned.cost >= best * (1 - rounding));
    CHECK(tuned.lower_bound <= best * (1 + rounding));
    CHECK(tuned.lower_bound > 0);
    CHECK(tuned.cost <= SizeTuner(goal).one_axis(steps).cost * (1 + rounding));
    found += tuned.cost <= best * (1 + rounding);
    worst = std::max(worst, tuned.cost / best);
  }
  MESSAGE("the best of all in ", found, " of ", tried, " cases, at worst ", worst, " times it");
  CHECK(found >= tried * 9 / 10);
  CHECK(worst < 1.1);
}

TEST_CASE("sizes are multiples of what attention TP and the width ask for") {
  support::Random random(support::seed("units", 33));
  for (const auto& [attn_tp, width] : {std::pair{4, 1}, {4, 2}, {6, 4}, {1, 3}}) {
    TuneGoal goal{.cost = {.ranks = 4}, .largest = 96, .attn_tp = attn_tp, .width = width};
    const auto steps = draw_steps(random, 4, 96, 200);
    for (const TunedShapes& tuned :
         {SizeTuner(goal).one_axis(steps), SizeTuner(goal).two_axes(steps)})
      for (const SizePair& shape : tuned.shapes) {
        CHECK(shape.local * width % attn_tp == 0);
        CHECK(shape.global * width % attn_tp == 0);
      }
  }
}

TEST_CASE("with a bound every step, seen or not, has a shape that pads it by no more") {
  support::Random random(support::seed("padding", 34));
  for (const int percent : {125, 150, 200}) {
    const TuneGoal goal{
        .cost = {.ranks = 4}, .largest = 64, .max_shapes = 40, .padding = {percent, 200}};
    const auto steps = draw_steps(random, 4, 64, 100);
    const ShapeSizes two = SizeTuner(goal).two_axes(steps).sizes(goal.cost);
    const ShapeSizes one = SizeTuner(goal).one_axis(steps).sizes(goal.cost);
    for (std::int64_t local = 1; local <= 64; ++local) {
      const auto size = one.fit(local);
      REQUIRE(size);
      CHECK((*size * 100 <= local * percent || *size == local));
      for (std::int64_t global = local; global <= 4 * local; ++global) {
        if (local * 4 * 100 > global * 200) continue;  // more skewed than the bound is for
        // There is one within the bound, and what the step takes costs no more in all.
        const auto taken = two.fit_pair(local, global);
        REQUIRE(taken);
        const auto pairs = two.pairs();
        const bool kept = std::any_of(pairs.begin(), pairs.end(), [&](const SizePair& pair) {
          return pair.holds({local, global}) &&
                 (pair.global * 100 <= global * percent || pair.global == global) &&
                 goal.cost.of(*taken) <= goal.cost.of(pair);
        });
        CHECK_MESSAGE(kept, "step (", local, ", ", global, ") takes ", taken->to_string());
      }
    }
  }
}

TEST_CASE("a byte budget is kept, and the more there is the less a step costs") {
  support::Random random(support::seed("bytes", 35));
  const auto steps = draw_steps(random, 8, 128, 300);
  double last = std::numeric_limits<double>::infinity();
  for (const std::int64_t budget :
       {std::int64_t{20000}, std::int64_t{60000}, std::int64_t{300000}}) {
    const TuneGoal goal{.cost = {.ranks = 8},
                        .largest = 128,
                        .max_shapes = 256,
                        .byte_budget = budget,
                        .bytes = GraphBytes{.per_graph = 500, .per_local = 10, .per_global = 2}};
    for (const bool two : {false, true}) {
      const TunedShapes tuned =
          two ? SizeTuner(goal).two_axes(steps) : SizeTuner(goal).one_axis(steps);
      std::int64_t bytes = 0;
      for (const SizePair& shape : tuned.shapes) bytes += goal.bytes(shape);
      CHECK(bytes <= budget);
      CHECK(tuned.lower_bound <= tuned.cost * (1 + rounding));
      if (two) {
        CHECK(tuned.cost < last);
        last = tuned.cost;
      }
    }
  }
}

TEST_CASE("the order of what was counted makes no difference") {
  support::Random random(support::seed("order", 36));
  const TuneGoal goal{.cost = {.ranks = 8}, .largest = 256};
  auto steps = draw_steps(random, 8, 256, 3000);  // more than are searched without coarsening
  const SizeTuner tuner(goal);
  const auto two = tuner.two_axes(steps);
  std::reverse(steps.begin(), steps.end());
  CHECK(tuner.two_axes(steps).shapes == two.shapes);
  CHECK(two.sizes(goal.cost).fit_pair(256, 2048) == SizePair{256, 2048});
}

TEST_CASE("without steps the largest shape is left, and large sizes are no trouble") {
  const TuneGoal goal{.cost = {.ranks = 2}, .largest = 8192, .max_shapes = 256};
  CHECK(SizeTuner(goal).two_axes({}).shapes == std::vector{goal.largest_pair()});
  CHECK(SizeTuner(goal).one_axis({}).shapes == std::vector{goal.largest_pair()});
  std::vector<LoadEntry> steps;
  for (std::int64_t n = 1; n <= 8192; ++n) steps.push_back({{n, n + n / 2}, 1 + n % 7 * 1000});
  const TunedShapes one = SizeTuner(goal).one_axis(steps);
  CHECK(one.shapes.size() == 256);
  CHECK(one.cost == doctest::Approx(plain_cost(goal, steps, one.shapes)).epsilon(rounding));
}

TEST_CASE("goals that cannot be are refused with the value and the limit") {
  CHECK(error_of({.max_shapes = 0}) == "[SizeTuner] max_shapes is 0, must be 1 to 1024");
  CHECK(error_of({.largest = 6, .attn_tp = 4}) ==
        "[SizeTuner] largest is 6, must be a multiple of 4 for attn_tp 4 and width 1");
  CHECK(error_of({.padding = {99}}).find("padding.percent is 99") != std::string::npos);
  CHECK(error_of({.cost = {.ranks = 0}}).find("ranks is 0, must be 1 to") != std::string::npos);
  CHECK(error_of({.byte_budget = -1}).find("byte_budget is -1") != std::string::npos);
  CHECK(error_of({.largest = 64, .max_shapes = 3, .padding = {110}}).find("max_shapes is 3") !=
        std::string::npos);
  CHECK(error_of({.largest = 64, .byte_budget = 10, .bytes = GraphBytes{.per_graph = 11}})
            .find("of 11 bytes") != std::string::npos);
}
