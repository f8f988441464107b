// What a table predicts, against arithmetic of the test's own.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/cost_table.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

CostTable table_of(std::int64_t row_bytes, int group_dp) {
  CostTable table{.row_bytes = row_bytes, .group_dp = group_dp};
  table.of(Transport::max_len) = {{2e-6, 1e-10}, {3e-6, 2e-10}};
  table.of(Transport::sum_len_all_reduce) = {{4e-6, 3e-10}, {4e-6, 5e-10}};
  return table;
}

}  // namespace

TEST_CASE("MAX_LEN is charged for W * max rows, the others for the sum, by how uneven counts are") {
  const CostTable table = table_of(100, 0);
  const std::vector<std::int64_t> even{10, 10}, one_hot{20, 0}, halfway{15, 5}, nobody{0, 0};
  const auto max_len = [&](Counts counts) { return table.seconds(Transport::max_len, counts); };
  const auto sum_len = [&](Counts counts) {
    return table.seconds(Transport::sum_len_all_reduce, counts);
  };
  CHECK(max_len(even) == doctest::Approx(2e-6 + 2000 * 1e-10));
  CHECK(max_len(one_hot) == doctest::Approx(3e-6 + 4000 * 2e-10));
  CHECK(max_len(halfway) == doctest::Approx(2.5e-6 + 3000 * 1.5e-10));
  CHECK(sum_len(even) == doctest::Approx(4e-6 + 2000 * 3e-10));
  CHECK(sum_len(one_hot) == doctest::Approx(4e-6 + 2000 * 5e-10));
  CHECK(sum_len(halfway) == doctest::Approx(4e-6 + 2000 * 4e-10));
  CHECK(sum_len(nobody) == doctest::Approx(4e-6));
}

TEST_CASE("the FFN is charged for every row of its buffer, pads too") {
  CostTable table = table_of(100, 0);
  const std::vector<std::int64_t> counts{30, 10};
  const double moved = table.seconds(Transport::max_len, counts);
  const double moved_by_sum = table.seconds(Transport::sum_len_all_reduce, counts);
  table.seconds_per_row = 1e-6;
  CHECK(table.seconds(Transport::max_len, counts) == doctest::Approx(moved + 60e-6));
  CHECK(table.seconds(Transport::sum_len_all_reduce, counts) ==
        doctest::Approx(moved_by_sum + 40e-6));
}

TEST_CASE("of several FFN groups the slowest counts") {
  support::Random random(support::seed("slowest group", 41));
  const CostTable groups = table_of(64, 3), one = table_of(64, 0);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::int64_t> counts(12);
    for (auto& n : counts) n = random.chance(30) ? 0 : random.between(0, 500);
    for (const Transport transport : {Transport::max_len, Transport::sum_len_all_reduce}) {
      double slowest = 0;
      for (std::size_t g = 0; g < 12; g += 3)
        slowest = std::max(slowest, one.seconds(transport, Counts(counts).subspan(g, 3)));
      CHECK(groups.seconds(transport, counts) == slowest);
    }
  }
  const std::vector<std::int64_t> four(4, 1);
  CHECK_THROWS_WITH_AS((void)groups.seconds(Transport::max_len, four),
                       "[CostTable] 4 counts given, the table is of FFN groups of 3 DP ranks",
                       InvalidArgument);
}

TEST_CASE("a table that is not sound is refused, and any number changes the fingerprint") {
  const CostTable good = table_of(8, 2);
  good.check();
  const auto refused = [&](auto change) {
    CostTable table = good;
    change(table);
    CHECK_THROWS_AS(table.check(), InvalidArgument);
  };
  refused([](CostTable& t) { t.row_bytes = 0; });
  refused([](CostTable& t) { t.group_dp = -1; });
  refused([](CostTable& t) { t.seconds_per_row = -1; });
  refused([](CostTable& t) { t.of(Transport::max_len)->even.latency = -1; });
  refused([](CostTable& t) {
    t.of(Transport::max_len)->one_hot.seconds_per_byte = std::numeric_limits<double>::infinity();
  });
  refused([](CostTable& t) { t.costs = {}; });

  const auto other = [&](auto change) {
    CostTable table = good;
    change(table);
    CHECK(table.fingerprint() != good.fingerprint());
    CHECK(!(table == good));
  };
  other([](CostTable& t) { t.row_bytes = 9; });
  other([](CostTable& t) { t.group_dp = 0; });
  other([](CostTable& t) { t.seconds_per_row = 1e-9; });
  other([](CostTable& t) { t.of(Transport::max_len).reset(); });
  other([](CostTable& t) { std::swap(t.costs[0], t.costs[1]); });
  other([](CostTable& t) { t.of(Transport::max_len)->even.latency *= 1 + 1e-15; });
  other([](CostTable& t) { t.of(Transport::max_len)->one_hot.after = CostCurve::Break{8, 1, 0}; });
}
