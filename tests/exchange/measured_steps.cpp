// Steps of a gather by Auto<MeasuredRule>: right rows both ways, alike choices, agreed tables.
#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dpgather.hpp>

#include "support/hosts_comm.hpp"
#include "support/ranks.hpp"
#include "support/sanitized.hpp"
#include "support/seed.hpp"

using namespace dpgather;
using test::expect;

namespace {

constexpr std::int64_t H = 5, most = 32;
using Gather = DpGather<Auto<MeasuredRule>, float, test::HostsComm>;

/// Each transport is the fastest somewhere.
CostTable contested(int group_dp) {
  CostTable table{.row_bytes = H * 4, .group_dp = group_dp};
  table.of(Transport::max_len) = {{1.0e-5, 2e-9}, {1.5e-5, 3e-9}};
  table.of(Transport::sum_len_all_reduce) = {{1.6e-5, 1e-9}, {1.1e-5, 4e-9}};
  table.of(Transport::sum_len_all_gather_v) = {{1.3e-5, 3e-9}, {1.0e-5, 2e-9}};
  table.of(Transport::sum_len_peer_store) = {{1.2e-5, 3e-9}, {1.4e-5, 1e-9}};
  table.of(Transport::sum_len_hierarchical) = {{1.3e-5, 1e-9}, {1.1e-5, 1e-9}};
  return table;
}

std::vector<std::int64_t> draw(support::Random& random, int dp) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(dp));
  const std::int64_t kind = random.between(0, 4), base = random.between(0, most);
  for (auto& n : rows)
    n = kind == 0 ? base : kind == 1 ? (random.chance(75) ? 0 : base) : random.between(0, most);
  if (random.chance(5)) std::fill(rows.begin(), rows.end(), 0);
  return rows;
}

float value_of(int step, std::size_t dp, std::int64_t k) {
  return static_cast<float>(step % 50 * 4000 + static_cast<int>(dp) * 400 + static_cast<int>(k));
}

/// Both ways, against what each rank is known to have had.
void check_rows(Gather& gather, const ShapeKey& shape, int step,
                const std::vector<std::int64_t>& counts, int first, int dp, int rank) {
  const std::int64_t n = counts[static_cast<std::size_t>(dp)];
  std::vector<float> mine(static_cast<std::size_t>(most * H));
  for (std::int64_t k = 0; k < n * H; ++k)
    mine[static_cast<std::size_t>(k)] = value_of(step, static_cast<std::size_t>(dp), k);
  const std::int64_t given = shape.is_static ? shape.local_len : n;
  const Rows<const float> all = gather.gather(shape, Rows<const float>(mine.data(), given, H), {});
  const DpLayout& layout = gather.config().layout;
  const Rows<float> partial = gather.partial_slot(shape);
  for (std::int64_t i = 0; i < partial.size(); ++i) partial.data()[i] = 0;
  for (int d = 0; d < layout.group_dp(); ++d) {
    const auto at = static_cast<std::size_t>(first + d);
    for (std::int64_t k = 0; k < counts[at] * H; ++k) {
      const std::int64_t row = gather.counts().offsets[d] + k / H;
      const float want = value_of(step, at, k);
      expect(all(row, k % H) == want, "step ", step, " ", shape, ": row ", row, " is ",
             all(row, k % H), ", not ", want);
      partial(row, k % H) = want * static_cast<float>(1 + rank);
    }
  }
  float weights = 0;  // of all ranks of the group
  for (int r = 0; r < layout.group_world(); ++r) weights += static_cast<float>(1 + r);
  std::vector<float> back(static_cast<std::size_t>(most * H), -1);
  gather.reduce_scatter(shape, partial, Rows<float>(back.data(), given, H), {});
  for (std::int64_t k = 0; k < n * H; ++k) {
    const float want = mine[static_cast<std::size_t>(k)] * weights;
    expect(back[static_cast<std::size_t>(k)] == want, "step ", step, " ", shape, ": sum ", k,
           " is ", back[static_cast<std::size_t>(k)], ", not ", want);
  }
}

/// Counts by reason and the transports taken, of rank 0; all ranks of a group must have the same.
struct Served {
  ChoiceCounts choices;
  std::vector<Transport> taken;
};

Served serve(const DpLayout& layout, const CostTable& table, bool graphs, int steps, int hosts,
             std::uint64_t seed) {
  std::vector<Served> all(static_cast<std::size_t>(layout.world()));
  std::mutex mutex;
  test::on_ranks(layout, [&](test::Rank& rank) {
    const int per_host = layout.group_world() / hosts;
    test::HostsComm ffn(rank.comm.split(layout.group(rank.rank()), rank.rank()),
                        rank.rank() / per_host);
    Gather gather(ffn, {.layout = layout, .hidden = H, .max_local_rows = most, .hosts = hosts},
                  {MeasuredRule(table)});
    rank.agreement.set_policy(gather.fingerprint());
    GraphCache<ShapeKey, CaptureSizes, KeepAll, HostGraphs> cache(CaptureSizes({8, most}));
    support::Random random(seed);
    Served served;
    for (int i = 0; i < steps; ++i) {
      const auto counts = draw(random, layout.dp);
      const std::int64_t n = counts[static_cast<std::size_t>(rank.dp())];
      const Step step = rank.agree_decode(n);
      const ShapeKey shape = graphs ? cache.select(step, gather) : gather.exact_shape(step);
      // Asked more often on some ranks than on others, which must make no difference.
      for (int k = 0; k < rank.rank(); ++k) (void)gather.exact_shape(step);
      gather.begin_step(step, shape, {});
      served.taken.push_back(shape.transport);
      check_rows(gather, shape, i, counts, layout.group_first_dp(rank.rank()), rank.dp(),
                 ffn.rank());
    }
    served.choices = gather.choices();
    const std::lock_guard lock(mutex);
    all[static_cast<std::size_t>(rank.rank())] = served;
  });
  for (int r = 0; r < layout.world(); ++r) {
    const auto leader = static_cast<std::size_t>(r - r % layout.group_world());
    CHECK(all[static_cast<std::size_t>(r)].choices == all[leader].choices);
    CHECK(all[static_cast<std::size_t>(r)].taken == all[leader].taken);
    if (graphs) CHECK(all[static_cast<std::size_t>(r)].taken == all[0].taken);
  }
  return all.front();
}

bool took(const Served& served, Transport transport) {
  return std::find(served.taken.begin(), served.taken.end(), transport) != served.taken.end();
}

constexpr int steps = support::sanitized ? 200 : 300;  // enough to take every transport

}  // namespace

TEST_CASE("whatever the rule takes, rows are right both ways, of idle ranks too") {
  const std::uint64_t seed = support::seed("measured steps", 81);
  for (const bool graphs : {false, true})
    for (const int hosts : {1, 2}) {
      INFO("graphs ", graphs, ", hosts ", hosts);
      const Served served = serve({.dp = 4}, contested(4), graphs, steps, hosts, seed);
      using enum ChoiceReason;
      CHECK(served.choices[least_time] + served.choices[within_margin] ==
            static_cast<std::uint64_t>(steps));
      CHECK(served.choices[least_time] > 0);
      CHECK(served.choices[within_margin] > 0);
      CHECK(took(served, Transport::max_len));
      CHECK(took(served, Transport::sum_len_all_gather_v) == !graphs);
      CHECK(took(served,
                 hosts == 1 ? Transport::sum_len_peer_store : Transport::sum_len_hierarchical));
      CHECK(!took(served,
                  hosts == 2 ? Transport::sum_len_peer_store : Transport::sum_len_hierarchical));
    }
}

TEST_CASE("FFN groups and attention TP are served too, groups alike where a graph may run") {
  const std::uint64_t seed = support::seed("measured groups", 82);
  for (const bool graphs : {false, true}) {
    (void)serve({.dp = 4, .ffn_dp = 2}, contested(2), graphs, steps / 3, 1, seed);
    (void)serve({.dp = 2, .attn_tp = 2}, contested(2), graphs, steps / 3, 1, seed);
  }
}

TEST_CASE("a shape that was made before another step began stands, whatever is kept since") {
  const std::uint64_t seed = support::seed("shapes made ahead", 83);
  test::on_ranks({.dp = 3}, [&](test::Rank& rank) {
    test::HostsComm ffn(rank.comm.split(0, rank.rank()), 0);
    Gather gather(ffn, {.layout = rank.layout, .hidden = H, .max_local_rows = most},
                  {MeasuredRule(contested(3), 0.15)});
    support::Random random(seed);
    std::uint64_t moved_on = 0;
    for (int i = 0; i < steps; ++i) {
      std::vector<std::int64_t> counts[2];
      Step agreed[2];
      ShapeKey shapes[2];
      for (int k = 0; k < 2; ++k) {
        counts[k] = draw(random, 3);
        const std::int64_t n = counts[k][static_cast<std::size_t>(rank.dp())];
        agreed[k] = rank.agree_decode(n);
        shapes[k] = gather.exact_shape(agreed[k]);
      }
      for (int k = 0; k < 2; ++k) {
        if (gather.exact_shape(agreed[k]) != shapes[k]) ++moved_on;
        gather.begin_step(agreed[k], shapes[k], {});
        check_rows(gather, shapes[k], i, counts[k], 0, rank.dp(), rank.rank());
      }
    }
    expect(moved_on > 0, "no shape was ever overtaken: this shows nothing");
    expect(gather.choices()[ChoiceReason::given] == moved_on, "given ",
           gather.choices()[ChoiceReason::given], ", overtaken ", moved_on);
  });
}

TEST_CASE("a table that one rank alone has, or has otherwise, is found at the first agreement") {
  for (const bool other_margin : {false, true}) {
    test::on_ranks({.dp = 3}, [&](test::Rank& rank) {
      test::HostsComm ffn(rank.comm.split(0, rank.rank()), 0);
      CostTable table = contested(3);
      double margin = 0.05;
      if (rank.rank() == 1 && other_margin) margin = 0.06;
      if (rank.rank() == 1 && !other_margin)
        table.of(Transport::max_len)->even.latency *= 1 + 1e-15;
      Gather gather(ffn, {.layout = rank.layout, .hidden = H, .max_local_rows = most},
                    {MeasuredRule(table, margin)});
      rank.agreement.set_policy(gather.fingerprint());
      expect(rank.diverges(), "rank ", rank.rank(), " saw no divergence");
    });
  }
}

TEST_CASE("measure, agree, serve: the whole way at start-up") {
  const std::uint64_t seed = support::seed("measured at start-up", 84);
  for (const int dp : {1, 2, 4}) {
    const DpLayout layout{.dp = dp};
    test::on_ranks(layout, [&](test::Rank& rank) {
      test::HostsComm ffn(rank.comm.split(0, rank.rank()), 0);
      const GatherConfig config{.layout = layout, .hidden = H, .max_local_rows = most};
      const Measurement measured =
          measure_transports(ffn, rank.control, config, {}, {.budget = {.seconds = 0.1}});
      Gather gather(ffn, config, {MeasuredRule(measured.table)});
      rank.agreement.set_policy(gather.fingerprint());
      support::Random random(seed);
      for (int i = 0; i < steps / 3; ++i) {
        const auto counts = draw(random, dp);
        const std::int64_t n = counts[static_cast<std::size_t>(rank.dp())];
        const Step step = rank.agree_decode(n);
        const ShapeKey shape = gather.exact_shape(step);
        gather.begin_step(step, shape, {});
        check_rows(gather, shape, i, counts, 0, rank.dp(), rank.rank());
      }
    });
  }
}
