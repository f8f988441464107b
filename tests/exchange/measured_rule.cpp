// MeasuredRule on supplied tables, against a plain search of the test's own.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/exchange/auto_mode.hpp>
#include <dpgather/exchange/measured_rule.hpp>

#include "support/allocations.hpp"
#include "support/seed.hpp"

using namespace dpgather;

namespace {

using Rows64 = std::vector<std::int64_t>;

std::vector<Allowed> every_kind() {
  std::vector<Allowed> kinds;
  for (int i = 0; i < 8; ++i) kinds.push_back({(i & 1) != 0, (i & 2) != 0, (i & 4) != 0});
  return kinds;
}

/// The test's own: which transports a step may take.
bool possible(Transport transport, const Allowed& allowed) {
  if (transport == Transport::sum_len_all_gather_v) return !allowed.captured;
  if (transport == Transport::sum_len_peer_store) return allowed.peers;
  if (transport == Transport::sum_len_hierarchical) return allowed.host_peers;
  return true;
}

/// The test's own prediction; curves of its tables have one line.
double predicted(const CostTable& table, Transport transport, const Rows64& counts) {
  std::int64_t longest = 0, total = 0;
  for (const std::int64_t n : counts) longest = std::max(longest, n), total += n;
  const auto w = static_cast<std::int64_t>(counts.size());
  const std::int64_t rows = transport == Transport::max_len ? w * longest : total;
  const double skew = w == 1 || total == 0 ? 0
                                           : static_cast<double>(w * longest - total) /
                                                 static_cast<double>((w - 1) * total);
  const auto bytes = static_cast<double>(rows * table.row_bytes);
  const TransportCost& cost = *table.of(transport);
  const double even = cost.even.latency + cost.even.seconds_per_byte * bytes;
  const double one_hot = cost.one_hot.latency + cost.one_hot.seconds_per_byte * bytes;
  return (1 - skew) * even + skew * one_hot + static_cast<double>(rows) * table.seconds_per_row;
}

Rows64 draw(support::Random& random) {
  Rows64 counts(static_cast<std::size_t>(random.between(1, 9)));
  const bool sparse = random.chance(40);
  for (auto& n : counts) n = sparse && random.chance(70) ? 0 : random.between(0, 300);
  return counts;
}

CostCurve line(support::Random& random) {
  return {static_cast<double>(random.between(1, 100)) * 1e-6,
          static_cast<double>(random.between(1, 100)) * 1e-11};
}

/// Even costs of `winner` are least above a few rows and below many; those of all others lie above.
CostTable won_by(Transport winner) {
  CostTable table{.row_bytes = 1024};
  for (std::size_t i = 0; i < transport_count; ++i) {
    const auto extra = static_cast<double>(i) * 1e-7;
    table.costs[i] = {{2e-5 + extra, 1e-9}, {2e-5 + extra, 1e-9}};
  }
  table.of(winner) = {{3e-5, 2e-10}, {3e-5, 2e-10}};
  return table;
}

}  // namespace

TEST_CASE("the rule takes what a plain search finds, whatever the table, load and set-up") {
  support::Random random(support::seed("plain search", 51));
  int of_transport[transport_count] = {};
  for (int round = 0; round < 3000; ++round) {
    CostTable table{.row_bytes = random.between(1, 4096)};
    if (random.chance(50)) table.seconds_per_row = static_cast<double>(random.between(0, 9)) * 1e-8;
    for (auto& cost : table.costs)
      if (random.chance(70)) cost = {line(random), line(random)};
    if (!table.of(Transport::max_len) && !table.of(Transport::sum_len_all_reduce)) continue;
    const MeasuredRule rule(table);
    const Rows64 counts = draw(random);
    for (const Allowed& allowed : every_kind()) {
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < transport_count; ++i)
        if (table.costs[i] && possible(static_cast<Transport>(i), allowed))
          least = std::min(least, predicted(table, static_cast<Transport>(i), counts));
      const Choice choice = rule.choose({counts}, allowed);
      REQUIRE(choice.transport);
      REQUIRE(possible(*choice.transport, allowed));
      CHECK(choice.reason == ChoiceReason::least_time);
      CHECK(predicted(table, *choice.transport, counts) <= least * (1 + 1e-12));
      ++of_transport[static_cast<std::size_t>(*choice.transport)];
    }
  }
  for (const int chosen : of_transport) CHECK(chosen > 0);
}

TEST_CASE("in a table where a transport wins somewhere, the rule finds it there") {
  const Rows64 few(4, 1), many(4, 500);
  for (std::size_t i = 0; i < transport_count; ++i) {
    const auto winner = static_cast<Transport>(i);
    const MeasuredRule rule(won_by(winner));
    const Allowed all{.peers = true, .host_peers = true};
    CHECK(rule.choose({many}, all) == Choice{winner, ChoiceReason::least_time});
    CHECK(rule.choose({few}, all).transport != winner);
    const Allowed captured{.captured = true};
    CHECK((rule.choose({many}, captured).transport == winner) == possible(winner, captured));
  }
}

TEST_CASE("what moves and what is computed are weighed together") {
  // MAX_LEN moves faster; by the FFN's time for each row its pads cost more than that.
  CostTable table{.row_bytes = 1000};
  table.of(Transport::max_len) = {{1e-5, 1e-11}, {1e-5, 1e-11}};
  table.of(Transport::sum_len_all_reduce) = {{2e-5, 2e-11}, {2e-5, 2e-11}};
  const Rows64 uneven{40, 10, 10, 10}, even{40, 40, 40, 40};
  CHECK(MeasuredRule(table).choose({uneven}, {}).transport == Transport::max_len);
  table.seconds_per_row = 1e-6;
  CHECK(MeasuredRule(table).choose({uneven}, {}).transport == Transport::sum_len_all_reduce);
  CHECK(MeasuredRule(table).choose({even}, {}).transport == Transport::max_len);
}

TEST_CASE("around a crossover the choice does not flap, and a lasting change is followed") {
  support::Random random(support::seed("flapping", 52));
  // Even counts of n rows each: MAX_LEN 1e-5 + n * 4e-7, all-reduce 3e-5 + n * 2e-7; equal at 100.
  CostTable table{.row_bytes = 1000};
  table.of(Transport::max_len) = {{1e-5, 1e-10}, {1e-5, 1e-10}};
  table.of(Transport::sum_len_all_reduce) = {{3e-5, 5e-11}, {3e-5, 5e-11}};
  const auto changes = [&](std::int64_t around, std::int64_t noise, int steps, MeasuredRule& rule) {
    int changed = 0;
    std::optional<Transport> last = rule.choose({Rows64(4, around)}, {}).transport;
    for (int i = 0; i < steps; ++i) {
      const Rows64 counts(4, around + random.between(-noise, noise));
      const Choice choice = rule.choose({counts}, {});
      rule.began({}, *choice.transport);
      changed += choice.transport != last ? 1 : 0;
      last = choice.transport;
    }
    return changed;
  };
  MeasuredRule settled(table), hasty(table, 0);
  // A noise of 8 rows moves the two apart by 3 % at most.
  CHECK(changes(100, 8, 1000, settled) <= 1);
  CHECK(changes(100, 8, 1000, hasty) > 100);
  CHECK(changes(200, 8, 50, settled) <= 1);
  CHECK(settled.choose({Rows64(4, 200)}, {}).transport == Transport::sum_len_all_reduce);
  CHECK(settled.choose({Rows64(4, 97)}, {}) ==
        Choice{Transport::sum_len_all_reduce, ChoiceReason::within_margin});
  CHECK(changes(40, 8, 50, settled) <= 1);
  CHECK(settled.choose({Rows64(4, 103)}, {}) ==
        Choice{Transport::max_len, ChoiceReason::within_margin});
}

TEST_CASE("asking changes nothing: only a step that begins moves what is kept, and of its kind") {
  const MeasuredRule fresh(won_by(Transport::sum_len_all_gather_v));
  MeasuredRule rule = fresh;
  const Rows64 few(4, 1), many(4, 500);
  const Allowed eager{}, captured{.captured = true};
  for (int i = 0; i < 3; ++i) {
    CHECK(rule.choose({few}, eager) == fresh.choose({few}, eager));
    CHECK(rule.choose({many}, eager) == fresh.choose({many}, eager));
  }
  // 1 % apart: the second is kept once a step has begun with it.
  CostTable near{.row_bytes = 1000};
  near.of(Transport::max_len) = {{1e-5, 0}, {1e-5, 0}};
  near.of(Transport::sum_len_all_reduce) = {{1.01e-5, 0}, {1.01e-5, 0}};
  MeasuredRule close(near);
  close.began(captured, Transport::sum_len_all_reduce);
  CHECK(close.choose({few}, captured) ==
        Choice{Transport::sum_len_all_reduce, ChoiceReason::within_margin});
  CHECK(close.choose({few}, eager) == Choice{Transport::max_len, ChoiceReason::least_time});
  CHECK(close.fingerprint() == MeasuredRule(near).fingerprint());
  close.began(eager, Transport::sum_len_peer_store);  // out of reach: not kept
  CHECK(close.choose({few}, eager).transport == Transport::max_len);
}

TEST_CASE("auto with such a rule takes what it says, without peers' memory if kept from it") {
  const CostTable table = won_by(Transport::sum_len_peer_store);
  const Rows64 many(4, 500);
  const Allowed peers{.peers = true};
  const Auto<MeasuredRule> mode{MeasuredRule(table)};
  CHECK(mode.choose({many}, peers).transport == Transport::sum_len_peer_store);
  CHECK(mode.choose({many}, {}).transport == Transport::max_len);
  Auto<MeasuredRule> kept{MeasuredRule(table), false};
  CHECK(kept.choose({many}, peers).transport == Transport::max_len);
  kept.began(peers, Transport::sum_len_peer_store);
  CHECK(kept.choose({many}, peers).transport == Transport::max_len);
  CHECK(kept.fingerprint() != mode.fingerprint());
  CHECK(Auto<MeasuredRule>{MeasuredRule(table, 0.1)}.fingerprint() != mode.fingerprint());
}

TEST_CASE("choosing allocates nothing") {
  CostTable table = won_by(Transport::sum_len_peer_store);
  table.group_dp = 4;
  Auto<MeasuredRule> mode{MeasuredRule(table)};
  const Rows64 counts(4096, 3);
  const Allowed allowed{.peers = true};
  const std::uint64_t before = support::allocations_of_this_thread();
  for (int i = 0; i < 10; ++i) mode.began(allowed, *mode.choose({counts}, allowed).transport);
  CHECK(support::allocations_of_this_thread() == before);
}

TEST_CASE("a margin or table that cannot be is refused") {
  CHECK_THROWS_WITH_AS(MeasuredRule(won_by(Transport::max_len), -0.5),
                       "[MeasuredRule] margin is -0.5, must be 0 to 10", InvalidArgument);
  CostTable table = won_by(Transport::max_len);
  table.of(Transport::max_len).reset();
  table.of(Transport::sum_len_all_reduce).reset();
  CHECK_THROWS_AS(MeasuredRule{table}, InvalidArgument);
}
