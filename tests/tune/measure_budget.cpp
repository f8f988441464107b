// Sizes and repetitions of a start-up measurement.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/tune/measure_budget.hpp>

#include "support/seed.hpp"

using namespace dpgather;

TEST_CASE("sizes go from the least to the most, apart by about one factor") {
  const MeasureBudget budget{.sizes = 8};
  CHECK(budget.ladder(1, 128) == std::vector<std::int64_t>{1, 2, 4, 8, 16, 32, 64, 128});
  CHECK(budget.ladder(4, 512) == std::vector<std::int64_t>{4, 8, 16, 32, 64, 128, 256, 512});
  CHECK(budget.ladder(2, 2) == std::vector<std::int64_t>{2});
  CHECK(budget.ladder(1, 3) == std::vector<std::int64_t>{1, 2, 3});
  support::Random random(support::seed("ladder", 61));
  for (int round = 0; round < 1000; ++round) {
    const std::int64_t unit = random.between(1, 8), most = unit * random.between(1, 100000);
    const MeasureBudget any{.sizes = static_cast<int>(random.between(2, 20))};
    const auto rungs = any.ladder(unit, most);
    REQUIRE(rungs.front() == unit);
    REQUIRE(rungs.back() == most);
    REQUIRE(static_cast<int>(rungs.size()) <= any.sizes);
    for (std::size_t i = 0; i < rungs.size(); ++i) {
      REQUIRE(rungs[i] % unit == 0);
      if (i > 0) REQUIRE(rungs[i] > rungs[i - 1]);
    }
  }
}

TEST_CASE("repetitions take no more than a size's share of what is left, but for the one") {
  support::Random random(support::seed("repetitions", 62));
  for (int round = 0; round < 2000; ++round) {
    const MeasureBudget budget{.seconds = 2, .most_repetitions = 30};
    const double once = static_cast<double>(random.between(1, 1000000)) * 1e-7;
    const double elapsed = static_cast<double>(random.between(0, 2500)) * 1e-3;
    const std::int64_t cells = random.between(1, 100);
    const int times = budget.repetitions(once, elapsed, cells);
    REQUIRE(times >= 1);
    REQUIRE(times <= 30);
    const double share = (2 - elapsed) / static_cast<double>(cells);
    if (times > 1) REQUIRE(times * once <= share);
    if (times < 30) REQUIRE((times + 1) * once > share);
  }
  CHECK(MeasureBudget{}.repetitions(0, 0, 1) == MeasureBudget{}.most_repetitions);
  CHECK(MeasureBudget{.seconds = 1}.allows(0.25, 0.5));
  CHECK(!MeasureBudget{.seconds = 1}.allows(0.26, 0.5));
}

TEST_CASE("a budget that cannot be is refused") {
  CHECK_THROWS_WITH_AS(MeasureBudget{.seconds = 0}.check(),
                       "[MeasureBudget] seconds is 0, must be above 0 and at most 3600",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(MeasureBudget{.sizes = 1}.check(),
                       "[MeasureBudget] sizes is 1, must be 2 to 64", InvalidArgument);
  CHECK_THROWS_AS(MeasureBudget{.most_repetitions = 0}.check(), InvalidArgument);
}
