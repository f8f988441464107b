// Shapes that follow traffic: how soon, how well, how often, and the same on all ranks.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/tune/retuned_sizes.hpp>

#include "support/allocations.hpp"
#include "support/sanitized.hpp"
#include "support/seed.hpp"

using namespace dpgather;

namespace {

/// What random requests on `ranks` ranks need, `mean` a rank.
SizePair need(support::Random& random, int ranks, std::int64_t mean) {
  SizePair step;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::int64_t n = random.between(mean * 3 / 4, mean * 5 / 4);
    step.local = std::max(step.local, n);
    step.global += n;
  }
  return step;
}

/// What a step costs at the cheapest of the shapes that hold it, looked up the plain way.
std::int64_t plain_cost(const RetunedSizes& sizes, const ShapeCost& cost, const SizePair& step) {
  std::int64_t least = -1;
  for (const SizePair& pair : sizes.pairs()) {
    if (pair.local < step.local || pair.global < step.global) continue;
    const std::int64_t here =
        100 * pair.global + std::int64_t{cost.attention_percent} * cost.ranks * pair.local;
    if (least < 0 || here < least) least = here;
  }
  return least;
}

/// Cost paid per cost needed, over `steps` steps of `mean` requests a rank.
double serve(RetunedSizes& sizes, const ShapeCost& cost, support::Random& random, int steps,
             std::int64_t mean) {
  double paid = 0, needed = 0;
  for (int i = 0; i < steps; ++i) {
    sizes.adopt();
    const SizePair step = need(random, cost.ranks, mean);
    const std::int64_t here = plain_cost(sizes, cost, step);
    REQUIRE(here > 0);
    (void)sizes.note(step);
    paid += static_cast<double>(here);
    needed += static_cast<double>(cost.of(step));
  }
  return paid / needed;
}

RetuneOptions options_for(int ranks, std::int64_t largest = 256) {
  RetuneOptions options;
  options.goal.cost.ranks = ranks;
  options.goal.largest = largest;
  return options;
}

}  // namespace

TEST_CASE("before anything was seen there is a shape for every step, with bounded padding") {
  for (const int ranks : {1, 2, 8, 32}) {
    CAPTURE(ranks);
    const RetunedSizes sizes(options_for(ranks));
    CHECK(sizes.pairs().size() <= 36);
    for (std::int64_t local = 1; local <= 256; ++local)
      for (const std::int64_t global : {local, (ranks + 1) * local / 2, ranks * local}) {
        const auto shape = sizes.fit_pair(local, global);
        REQUIRE(shape.has_value());
        REQUIRE(shape->holds({local, global}));
      }
    // Even loads: 36 shapes are close together, and locals are for 1.5 times the mean.
    for (std::int64_t local = 4; local <= 256; ++local)
      REQUIRE(plain_cost(sizes, {ranks}, {local, ranks * local}) * 10 <=
              15 * ShapeCost{ranks}.of({local, ranks * local}));
  }
}

TEST_CASE("after traffic has moved, steps cost little more than they need") {
  const auto seed = support::seed("retuned traffic", 11);
  for (const int ranks : support::sanitized ? std::vector{8} : std::vector{1, 2, 8, 32}) {
    support::Random random(seed + static_cast<std::uint64_t>(ranks));
    RetuneOptions options = options_for(ranks);
    options.most_patience = 512;
    RetunedSizes sizes(options);
    for (const std::int64_t mean : support::sanitized
                                       ? std::vector<std::int64_t>{40, 100}
                                       : std::vector<std::int64_t>{40, 12, 100, 150}) {
      CAPTURE(ranks);
      CAPTURE(mean);
      const std::int64_t before = sizes.tunings();
      serve(sizes, options.goal.cost, random, 400, mean);
      CHECK(serve(sizes, options.goal.cost, random, 200, mean) < 1.11);  // suddenly: 10 % and some
      serve(sizes, options.goal.cost, random, 800, mean);
      CHECK(serve(sizes, options.goal.cost, random, 200, mean) < 1.06);
      CHECK(sizes.pairs().size() <= 36);
      // Not again and again: what chance alone does to traffic that stays is no drift.
      CHECK(sizes.tunings() - before <= (mean == 40 ? 7 : 3));
    }
  }
}

TEST_CASE("a sudden change of traffic is followed within some tens of steps, drift with patience") {
  const auto seed = support::seed("sudden traffic", 12);
  support::Random random(seed);
  const RetuneOptions options = options_for(8);
  RetunedSizes sizes(options);
  serve(sizes, options.goal.cost, random, support::sanitized ? 1000 : 2000, 20);
  const std::int64_t settled = sizes.tunings();
  serve(sizes, options.goal.cost, random, 300, 20);
  CHECK(sizes.tunings() == settled);
  serve(sizes, options.goal.cost, random, 200, 90);
  CHECK(sizes.tunings() > settled);
}

TEST_CASE("ranks that note the same have the same shapes in every step") {
  const auto seed = support::seed("ranks retune", 13);
  support::Random traffic(seed);
  const RetuneOptions options = options_for(4, 64);
  RetunedSizes a(options), b(options);
  CHECK(a.fingerprint() == b.fingerprint());
  int changes = 0;
  const int steps = support::sanitized ? 150 : 600;
  for (int step = 0; step < steps; ++step) {
    const SizePair needed = need(traffic, 4, 4 + step * 30 / steps);
    const std::uint64_t before = a.shapes().fingerprint();
    const bool changed = a.note(needed);
    REQUIRE(b.note(needed) == changed);
    REQUIRE(a.shapes().fingerprint() == before);  // until they are adopted
    REQUIRE(a.next() == b.next());
    REQUIRE((a.next() != 0) == changed);
    changes += changed;
    const std::uint64_t next = a.next();
    a.adopt();
    b.adopt();
    REQUIRE(a.shapes().fingerprint() == (changed ? next : before));
  }
  CHECK(changes > 1);
  CHECK(a.fingerprint() == b.fingerprint());  // of what they may become, for the agreement
  RetuneOptions other = options;
  other.drift = 6;
  CHECK(RetunedSizes(other).fingerprint() != a.fingerprint());
}

TEST_CASE(
    "shapes keep to the goal: their number, attention TP, the largest, and one axis if asked") {
  const auto seed = support::seed("goal of retuning", 14);
  for (const bool one_axis : {false, true}) {
    support::Random random(seed);
    RetuneOptions options = options_for(4, 60);
    options.goal.attn_tp = 4;
    options.goal.max_shapes = 9;
    options.goal.padding = {.percent = 300, .skew_percent = 200};
    options.one_axis = one_axis;
    if (one_axis) options.goal.padding.percent = 300;
    RetunedSizes sizes(options);
    for (int step = 0; step < 300; ++step) {
      if (sizes.note(need(random, 4, 10 + step / 10))) sizes.adopt();
      REQUIRE(sizes.pairs().size() <= 9);
      REQUIRE(sizes.fit_pair(60, 240) == SizePair{60, 240});
      for (const SizePair& pair : sizes.pairs()) {
        REQUIRE(pair.local % 4 == 0);
        REQUIRE(pair.global % 4 == 0);
        if (one_axis && sizes.tunings() > 0) REQUIRE(pair.global == 4 * pair.local);
      }
    }
    CHECK(sizes.tunings() > 0);
  }
}

TEST_CASE("what was saved is where serving goes on") {
  const auto seed = support::seed("saved retuning", 15);
  support::Random random(seed);
  const RetuneOptions options = options_for(8);
  RetunedSizes yesterday(options);
  serve(yesterday, options.goal.cost, random, 800, 50);
  RetunedSizes today(options, yesterday.shapes(), yesterday.histogram());
  CHECK(today.shapes().fingerprint() == yesterday.shapes().fingerprint());
  CHECK(today.histogram().fingerprint() == yesterday.histogram().fingerprint());
  CHECK(serve(today, options.goal.cost, random, 200, 50) < 1.06);
  CHECK(today.tunings() == 0);
}

TEST_CASE("steps without requests, and those above the largest shape, move no shapes") {
  RetunedSizes sizes(options_for(2, 16));
  const auto before = sizes.shapes().fingerprint();
  for (int step = 0; step < 1000; ++step) {
    CHECK_FALSE(sizes.note(step % 2 == 0 ? SizePair{0, 0} : SizePair{17, 20}));
  }
  CHECK(sizes.shapes().fingerprint() == before);
  CHECK(sizes.histogram().too_large() == 500 * LoadEntry::one_step);
}

TEST_CASE("a step that nothing is tuned in allocates nothing") {
  const auto seed = support::seed("quiet retuning", 16);
  support::Random random(seed);
  RetunedSizes sizes(options_for(8));
  serve(sizes, {8}, random, 1000, 30);
  const std::int64_t tunings = sizes.tunings();
  const std::uint64_t before = support::allocations_of_this_thread();
  for (int i = 0; i < 100; ++i) {
    (void)sizes.note(need(random, 8, 30));
  }
  const std::uint64_t after = support::allocations_of_this_thread();
  REQUIRE(sizes.tunings() == tunings);
  CHECK(after == before);
}

TEST_CASE("options that cannot be are refused with value and limit, before serving") {
  const auto refused = [](const std::function<void(RetuneOptions&)>& change, const char* text) {
    RetuneOptions options = options_for(8);
    change(options);
    try {
      const RetunedSizes sizes(options);
      FAIL_CHECK("accepted: " << text);
    } catch (const InvalidArgument& error) {
      CHECK_MESSAGE(error.detail().find(text) != std::string::npos, error.detail());
    }
  };
  refused([](auto& o) { o.drift = 0; }, "drift is 0, must be 1 to 65536");
  refused([](auto& o) { o.spread_percent = 100; }, "spread_percent is 100, must be 0 to 99");
  refused([](auto& o) { o.slack_percent = -1; }, "slack_percent is -1, must be 0 to 65536");
  refused([](auto& o) { o.sudden_slack_percent = 3; },
          "sudden_slack_percent is 3, must be 4 to 65536");
  refused([](auto& o) { o.least_steps = 0; }, "least_steps is 0, must be 1 to 65536");
  refused([](auto& o) { o.most_patience = 31; }, "most_patience is 31, must be 32 to 65536");
  refused([](auto& o) { o.goal.max_shapes = 4; }, "max_shapes is 4");
  refused([](auto& o) { o.goal.largest = 0; }, "largest is 0");
  refused([](auto& o) { o.goal.byte_budget = 10, o.goal.bytes = GraphBytes{.per_graph = 100}; },
          "byte_budget is 10");
}
