#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/tune/load_histogram.hpp>

#include "support/allocations.hpp"
#include "support/seed.hpp"

using namespace dpgather;

namespace {

constexpr std::int64_t one = LoadEntry::one_step;

std::vector<LoadEntry> entries(const LoadHistogram& histogram) {
  return {histogram.entries().begin(), histogram.entries().end()};
}

std::int64_t weight(const LoadHistogram& histogram) {
  std::int64_t sum = 0;
  for (const LoadEntry& entry : histogram.entries()) sum += entry.weight;
  return sum;
}

std::vector<SizePair> random_steps(support::Random& random, int ranks) {
  std::vector<SizePair> steps;
  for (std::int64_t i = random.between(0, 300); i > 0; --i) {
    const std::int64_t longest = random.between(1, 40);
    steps.push_back({longest, random.between(longest, ranks * longest)});
  }
  return steps;
}

}  // namespace

TEST_CASE("equal steps are counted together, sorted, and steps without requests not at all") {
  LoadHistogram histogram({.cost = {.ranks = 4}});
  histogram.add(3, 7);
  histogram.add(2, 8);
  histogram.add(0, 0);
  histogram.add(3, 7, 5);
  histogram.add(9, 9, 0);
  CHECK(entries(histogram) == std::vector<LoadEntry>{{{2, 8}, one}, {{3, 7}, one + 5}});
  CHECK(histogram.unit() == SizePair{1, 1});
}

TEST_CASE("a full histogram gets coarser, and every step is held by an entry of its weight") {
  const auto seed = support::seed("histogram", 2);
  support::Random random(seed);
  for (int round = 0; round < 300; ++round) {
    const int ranks = static_cast<int>(random.between(1, 9));
    const HistogramOptions options{
        .cost = {.ranks = ranks, .attention_percent = static_cast<int>(random.between(0, 100))},
        .largest = {35, 35 * ranks},
        .capacity = random.between(1, 60)};
    const auto steps = random_steps(random, ranks);
    LoadHistogram histogram(options);
    std::int64_t too_large = 0;
    for (const SizePair& step : steps) {
      histogram.add(step.local, step.global);
      if (!options.largest.holds(step)) too_large += one;
    }
    CAPTURE(seed);
    REQUIRE(std::ssize(histogram.entries()) <= options.capacity);
    REQUIRE(histogram.too_large() == too_large);
    REQUIRE(weight(histogram) == std::ssize(steps) * one - too_large);
    std::map<SizePair, std::int64_t> expected;
    for (const SizePair& step : steps) {
      if (!options.largest.holds(step)) continue;
      const SizePair up{
          std::min(round_up(step.local, histogram.unit().local), std::int64_t{35}),
          std::min(round_up(step.global, histogram.unit().global), options.largest.global)};
      REQUIRE(up.holds(step));
      expected[up] += one;
    }
    REQUIRE(std::ssize(expected) == std::ssize(histogram.entries()));
    for (const LoadEntry& entry : histogram.entries())
      REQUIRE(expected.at(entry.step) == entry.weight);
  }
}

TEST_CASE("neither the order of steps nor how they are spread over ranks changes the result") {
  const auto seed = support::seed("histogram merge", 3);
  support::Random random(seed);
  for (int round = 0; round < 300; ++round) {
    const HistogramOptions options{
        .cost = {.ranks = 8}, .largest = {33, 8 * 33}, .capacity = random.between(1, 80)};
    auto steps = random_steps(random, 8);
    LoadHistogram all(options);
    for (const SizePair& step : steps) all.add(step.local, step.global);
    std::vector<LoadHistogram> parts(3, LoadHistogram(options));
    std::reverse(steps.begin(), steps.end());
    for (const SizePair& step : steps)
      parts[static_cast<std::size_t>(random.between(0, 2))].add(step.local, step.global);
    LoadHistogram left = parts[0], right = parts[2];
    left.merge(parts[1]);
    left.merge(parts[2]);
    right.merge(parts[1]);
    right.merge(parts[0]);
    CAPTURE(seed);
    REQUIRE(entries(left) == entries(all));
    REQUIRE(entries(right) == entries(all));
    REQUIRE(left.unit() == all.unit());
    REQUIRE(left.fingerprint() == all.fingerprint());
    REQUIRE(right.fingerprint() == all.fingerprint());
    REQUIRE(entries(LoadHistogram(options, all.entries())) == entries(all));
  }
}

TEST_CASE("a histogram merged with itself counts all twice") {
  LoadHistogram histogram({.cost = {.ranks = 2}, .largest = {4, 8}});
  histogram.add(1, 2);
  histogram.add(2, 3);
  histogram.add(5, 5);
  histogram.merge(histogram);
  CHECK(entries(histogram) == std::vector<LoadEntry>{{{1, 2}, 2 * one}, {{2, 3}, 2 * one}});
  CHECK(histogram.too_large() == 2 * one);
}

TEST_CASE("the axis that costs less per row gets coarser first") {
  LoadHistogram histogram({.cost = {.ranks = 32}, .capacity = 4});
  for (std::int64_t sum = 100; sum < 132; ++sum) histogram.add(10, sum);
  CHECK(histogram.unit() == SizePair{1, 16});  // 16 FFN rows cost as much as 2 requests a rank
  CHECK(entries(histogram) ==
        std::vector<LoadEntry>{{{10, 112}, 13 * one}, {{10, 128}, 16 * one}, {{10, 144}, 3 * one}});
}

TEST_CASE("where attention rows cost nothing both axes get coarser all the same") {
  LoadHistogram histogram({.cost = {.ranks = 8, .attention_percent = 0}, .capacity = 1});
  histogram.add(1, 1);
  histogram.add(900, 7200);
  REQUIRE(histogram.entries().size() == 1);
  CHECK(histogram.entries()[0].step.holds({900, 7200}));
  CHECK(histogram.entries()[0].weight == 2 * one);
}

TEST_CASE("decay rounds down, drops what is gone, and lets units get finer again") {
  LoadHistogram histogram({.cost = {.ranks = 1}, .capacity = 2});
  histogram.add(1, 1, 9);
  histogram.add(2, 2, 3);
  histogram.add(3, 3, 1);
  CHECK(histogram.unit() != SizePair{1, 1});
  const SizePair coarse = histogram.unit();
  histogram.decay(1, 4);
  CHECK(std::ssize(histogram.entries()) == 1);
  CHECK(weight(histogram) == (9 + 3) / 4);
  CHECK(histogram.unit() < coarse);
  histogram.decay(0, 1);
  CHECK(histogram.entries().empty());
}

TEST_CASE("weights stop at their limit") {
  LoadHistogram histogram;
  histogram.add(1, 1, LoadHistogram::most_weight);
  histogram.add(1, 1);
  CHECK(weight(histogram) == LoadHistogram::most_weight);
  histogram.decay(1023, 1024);
  CHECK(weight(histogram) == LoadHistogram::most_weight / 1024 * 1023);
}

TEST_CASE("counting, merging and decaying allocate nothing") {
  LoadHistogram histogram({.cost = {.ranks = 8}, .capacity = 32});
  LoadHistogram other = histogram;
  for (std::int64_t i = 1; i < 50; ++i) other.add(i, 3 * i);
  const auto before = support::allocations_of_this_thread();
  for (std::int64_t i = 1; i < 200; ++i) histogram.add(i, 2 * i);
  histogram.merge(other);
  histogram.decay(1, 2);
  CHECK(support::allocations_of_this_thread() == before);
}

TEST_CASE("bad input of a histogram is refused with value and limit, and changes nothing") {
  CHECK_THROWS_WITH_AS(LoadHistogram({.capacity = 0}),
                       "[LoadHistogram] capacity is 0, must be 1 to 65536", InvalidArgument);
  CHECK_THROWS_AS(LoadHistogram({.capacity = (1 << 16) + 1}), InvalidArgument);
  CHECK_THROWS_AS(LoadHistogram({.cost = {.ranks = 0}}), InvalidArgument);
  CHECK_THROWS_WITH_AS(LoadHistogram({.largest = {0, 1}}),
                       "[LoadHistogram] largest (0, 1) must have sizes of 1 to 2147483647",
                       InvalidArgument);
  LoadHistogram histogram({.cost = {.ranks = 2}});
  CHECK_THROWS_WITH_AS(histogram.add(-1, 3),
                       "[LoadHistogram] step (-1, 3) must have sizes of 0 to 2147483647",
                       InvalidArgument);
  CHECK_THROWS_AS(histogram.add(1, max_rows + 1), InvalidArgument);
  CHECK_THROWS_WITH_AS(histogram.add(1, 1, -2),
                       "[LoadHistogram] weight is -2, must be 0 to 1125899906842624",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(histogram.decay(3, 2),
                       "[LoadHistogram] decay to 3 / 2, must be 0 to 1 with a divisor of 1 to 1024",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(
      histogram.merge(LoadHistogram({.cost = {.ranks = 3}})),
      "[LoadHistogram] merge of histograms that differ in ranks, attention_percent or capacity",
      InvalidArgument);
  CHECK(histogram.entries().empty());
}
