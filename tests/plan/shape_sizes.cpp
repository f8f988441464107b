#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/plan/shape_sizes.hpp>

#include "support/allocations.hpp"
#include "support/seed.hpp"

using namespace dpgather;

namespace {

std::vector<SizePair> pairs(const ShapeSizes& sizes) {
  return {sizes.pairs().begin(), sizes.pairs().end()};
}

}  // namespace

TEST_CASE("the cost of a shape is FFN rows and a quarter of the attention rows, in hundredths") {
  CHECK(ShapeCost{.ranks = 8}.of({4, 20}) == 100 * 20 + 25 * 8 * 4);
  CHECK(ShapeCost{.ranks = 8, .attention_percent = 0}.of({4, 20}) == 2000);
}

TEST_CASE("a step takes the cheapest pair that holds it, whatever order they were given in") {
  const auto seed = support::seed("shape sizes", 1);
  support::Random random(seed);
  for (int round = 0; round < 500; ++round) {
    const ShapeCost cost{.ranks = static_cast<int>(random.between(1, 9)),
                         .attention_percent = static_cast<int>(random.between(0, 120))};
    std::vector<SizePair> given;
    for (std::int64_t i = random.between(1, 12); i > 0; --i) {
      const std::int64_t local = random.between(1, 12);
      given.push_back({local, random.between(local, local * cost.ranks)});
    }
    const ShapeSizes sizes(given, cost);
    std::vector<SizePair> shuffled(given.rbegin(), given.rend());
    shuffled.push_back(given.front());
    REQUIRE(pairs(ShapeSizes(shuffled, cost)) == pairs(sizes));
    REQUIRE(ShapeSizes(shuffled, cost).fingerprint() == sizes.fingerprint());
    for (std::int64_t longest = 0; longest <= 13; ++longest) {
      std::optional<std::int64_t> smallest;
      for (const SizePair& pair : given)
        if (pair.local >= longest) smallest = std::min(smallest.value_or(pair.local), pair.local);
      REQUIRE(sizes.fit(longest) == smallest);
      for (std::int64_t fullest = longest; fullest <= longest * cost.ranks; ++fullest) {
        std::optional<std::int64_t> least;
        for (const SizePair& pair : given)
          if (pair.holds({longest, fullest}))
            least = std::min(least.value_or(cost.of(pair)), cost.of(pair));
        const auto fit = sizes.fit_pair(longest, fullest);
        CAPTURE(seed);
        REQUIRE(fit.has_value() == least.has_value());
        if (!fit) continue;
        REQUIRE(cost.of(*fit) == *least);
        REQUIRE(fit->holds({longest, fullest}));
      }
    }
  }
}

TEST_CASE("of pairs that cost the same the one with the smaller sizes is taken") {
  const ShapeCost ffn_only{.ranks = 4, .attention_percent = 0};
  CHECK(ShapeSizes({{6, 10}, {3, 10}}, ffn_only).fit_pair(2, 9) == SizePair{3, 10});
  const ShapeCost both{.ranks = 4, .attention_percent = 25};  // 100 a request on either axis
  CHECK(ShapeSizes({{5, 10}, {4, 11}}, both).fit_pair(2, 9) == SizePair{5, 10});
}

TEST_CASE("a global size is cut to what the ranks can hold, and duplicates are dropped") {
  CHECK(pairs(ShapeSizes({{2, 100}, {2, 8}, {1, 3}}, {.ranks = 4})) ==
        std::vector<SizePair>{{1, 3}, {2, 8}});
}

TEST_CASE("looking a pair up allocates nothing") {
  const ShapeSizes sizes({{2, 8}, {4, 9}}, {.ranks = 4});
  const auto before = support::allocations_of_this_thread();
  CHECK(sizes.fit_pair(3, 9) == SizePair{4, 9});
  CHECK(sizes.fit(1) == 2);
  CHECK(support::allocations_of_this_thread() == before);
}

TEST_CASE("capture sizes give a pair from each axis by itself") {
  const auto sizes = CaptureSizes::sglang(64);
  for (std::int64_t longest = 0; longest <= 70; ++longest)
    for (std::int64_t fullest = longest; fullest <= 600; fullest += 7) {
      const auto pair = sizes.fit_pair(longest, fullest);
      REQUIRE(pair.has_value() == sizes.fit(longest).has_value());
      if (pair) REQUIRE(*pair == SizePair{*sizes.fit(longest), sizes.fit_sum(fullest)});
    }
}

TEST_CASE("pairs outside their limits are refused with value and limit") {
  const ShapeCost cost{.ranks = 4};
  CHECK_THROWS_WITH_AS(ShapeSizes({}, cost), "[ShapeSizes] no pair given, at least 1 is needed",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(ShapeSizes({{0, 4}}, cost),
                       "[ShapeSizes] local of (0, 4) must be 1 to 2147483647", InvalidArgument);
  CHECK_THROWS_WITH_AS(ShapeSizes({{4, 3}}, cost),
                       "[ShapeSizes] global of (4, 3) must be its local to 2147483647",
                       InvalidArgument);
  CHECK_THROWS_AS(ShapeSizes({{1, max_rows + 1}}, cost), InvalidArgument);
  CHECK_THROWS_WITH_AS(ShapeSizes({{1, 1}}, {.ranks = 0}),
                       "[ShapeCost] ranks is 0, must be 1 to 1048576", InvalidArgument);
  CHECK_THROWS_WITH_AS(ShapeSizes({{1, 1}}, {.ranks = 1, .attention_percent = -1}),
                       "[ShapeCost] attention_percent is -1, must be 0 to 1000", InvalidArgument);
}
