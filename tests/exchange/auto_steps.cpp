// Auto in a gather: what its steps took and why, counted alike on all ranks, and the rows they moved.
#include <mutex>
#include <random>
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

constexpr std::int64_t H = 3, most = 24;

/// A step of mixed traffic: even decoding, uneven decoding, and prefills of a few ranks.
std::vector<std::int64_t> draw(std::mt19937_64& random, int dp) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(dp));
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  const auto kind = below(4);
  const std::int64_t base = 4 + below(4);
  for (auto& n : rows) n = kind == 0 ? base : kind == 3 ? below(2) * below(most) : base - below(5);
  return rows;
}

struct Traffic {
  ChoiceCounts choices;
  std::uint64_t moved = 0, exist = 0, aligned = 0;  ///< rows, over ranks and steps
};

/// `steps` steps of `mode` at graph sizes or eagerly; rows are checked. All ranks must count alike.
template <class Comm, class Mode>
Traffic serve(const DpLayout& layout, Mode mode, bool graphs, int steps, std::uint64_t seed,
              int ranks_per_host) {
  Traffic traffic;
  std::vector<ChoiceCounts> counted(static_cast<std::size_t>(layout.world()));
  std::mutex mutex;
  test::on_ranks(layout, [&](test::Rank& rank) {
    Comm comm(rank.comm.split(0, rank.rank()), rank.rank() / ranks_per_host);
    DpGather<Mode, float, Comm> gather(
        comm, {.layout = layout, .hidden = H, .max_local_rows = most}, mode);
    GraphCache<ShapeKey, CaptureSizes, KeepAll, HostGraphs> cache(CaptureSizes({8, most}));
    std::mt19937_64 random(seed);
    std::vector<float> mine(static_cast<std::size_t>(most * H));
    std::uint64_t exist = 0, aligned = 0;
    for (int i = 0; i < steps; ++i) {
      const auto counts = draw(random, layout.dp);
      const std::int64_t n = counts[static_cast<std::size_t>(rank.dp())];
      const Step step = rank.agree_decode(n);
      const ShapeKey shape = graphs ? cache.select(step, gather) : gather.exact_shape(step);
      gather.begin_step(step, shape, {});
      for (std::int64_t k = 0; k < n * H; ++k)
        mine[static_cast<std::size_t>(k)] = static_cast<float>(i * 100 + rank.dp() * 1000 + k);
      const Rows<const float> rows(mine.data(), shape.is_static ? shape.local_len : n, H);
      const auto run = [&](const ShapeKey& key, HostStream stream) {
        gather.gather(key, rows, stream);
      };
      if (graphs)
        cache.run(step, shape, {}, rank.agreement, run);
      else
        run(shape, {});
      const Rows<const float> all = gather.gather(shape, rows, {});
      for (std::size_t d = 0; d < counts.size(); ++d)
        for (std::int64_t k = 0; k < counts[d] * H; ++k) {
          const float want = static_cast<float>(i * 100 + static_cast<int>(d) * 1000 + k);
          const std::int64_t row = gather.counts().offsets[d] + k / H;
          expect(all(row, k % H) == want, "step ", i, " row ", row, " is ", all(row, k % H));
        }
      for (const std::int64_t count : counts) {
        exist += static_cast<std::uint64_t>(count) * 2;
        aligned += static_cast<std::uint64_t>(round_up(count, layout.attn_tp)) * 2;
      }
    }
    const std::lock_guard lock(mutex);
    counted[static_cast<std::size_t>(rank.rank())] = gather.choices();
    traffic.moved += gather.moved().out / static_cast<std::uint64_t>(H);
    traffic.exist += exist;
    traffic.aligned += aligned;
  });
  for (const auto& counts : counted) CHECK(counts == counted.front());
  traffic.choices = counted.front();
  CHECK(traffic.choices.total() == static_cast<std::uint64_t>(steps));
  return traffic;
}

double moved_per_row(const Traffic& traffic) {
  return static_cast<double>(traffic.moved) / static_cast<double>(traffic.exist);
}

using test::HostsComm;

constexpr int steps = support::sanitized ? 40 : 200;

}  // namespace

TEST_CASE("with peers in reach auto moves the rows that exist, in graphs and outside") {
  const std::uint64_t seed = support::seed("auto peers", 11);
  for (const int dp : {1, 2, 5})
    for (const bool graphs : {false, true}) {
      INFO(dp, " ranks, graphs ", graphs);
      const Traffic traffic = serve<HostsComm>({.dp = dp}, Auto<>{}, graphs, steps, seed, dp);
      CHECK(traffic.moved == traffic.exist);
      using enum ChoiceReason;
      CHECK(traffic.choices[only_rows_that_exist] + traffic.choices[no_padding] ==
            traffic.choices.total());
      CHECK(traffic.choices[only_rows_that_exist] > 0);
      CHECK((traffic.choices[no_padding] > 0) == !graphs);
    }
}

TEST_CASE("with attention TP no row moves but those that exist and what aligns even steps") {
  const std::uint64_t seed = support::seed("auto attention TP", 12);
  const Traffic traffic =
      serve<HostsComm>({.dp = 3, .attn_tp = 2}, Auto<>{}, false, steps, seed, 6);
  CHECK(traffic.moved <= traffic.aligned);
  CHECK(traffic.moved < traffic.exist + (traffic.aligned - traffic.exist) / 2);
}

TEST_CASE("auto that is kept from peer stores, or out of reach, follows its rule and moves more") {
  const std::uint64_t seed = support::seed("auto out of reach", 13);
  const DpLayout layout{.dp = 4};
  for (const bool graphs : {false, true}) {
    INFO("graphs ", graphs);
    const Traffic kept =
        serve<HostsComm>(layout, Auto<>{.peer_stores = false}, graphs, steps, seed, 4);
    const Traffic far = serve<HostsComm>(layout, Auto<>{}, graphs, steps, seed, 1);
    CHECK(kept.choices == far.choices);
    CHECK(kept.moved == far.moved);
    using enum ChoiceReason;
    CHECK(far.choices[only_rows_that_exist] + far.choices[no_padding] + far.choices[given] == 0);
    CHECK(far.choices[rule_max_len] > 0);
    CHECK((far.choices[captured_needs_graph_safe] > 0) == graphs);
    CHECK(moved_per_row(far) > (graphs ? 1.2 : 1.005));
  }
}

TEST_CASE("a fixed mode counts as such, and a shape of the caller's own as given") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    HostsComm comm(rank.comm.split(0, rank.rank()), 0);
    const GatherConfig config{.layout = rank.layout, .hidden = H, .max_local_rows = most};
    DpGather<SumLen<PeerStore>, float, HostsComm> fixed(comm, config);
    DpGather<Auto<>, float, HostsComm> gather(comm, config);
    const std::int64_t n = 2 + rank.dp();
    const Step step = rank.agree({.tokens = n, .requests = n, .forward = Forward::decode});
    ShapeKey own{.local_len = 4,
                 .global_len = 8,
                 .transport = Transport::max_len,
                 .forward = Forward::decode,
                 .is_static = true};
    gather.begin_step(step, own, {});
    gather.begin_step(step, gather.exact_shape(step), {});
    own.transport = Transport::sum_len_peer_store;
    fixed.begin_step(step, own, {});
    expect(fixed.choices()[ChoiceReason::fixed_mode] == 1 && fixed.choices().total() == 1, "fixed");
    expect(gather.choices()[ChoiceReason::given] == 1, "given");
    expect(gather.choices()[ChoiceReason::only_rows_that_exist] == 1, "exact");
  });
}

TEST_CASE("a peer store of ranks out of reach is refused, by construction or by the shape") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    HostsComm comm(rank.comm.split(0, rank.rank()), rank.rank());
    const GatherConfig config{.layout = rank.layout, .hidden = H, .max_local_rows = most};
    const auto error = [](auto f) -> std::string {
      try {
        f();
      } catch (const InvalidArgument& found) {
        return found.detail();
      }
      return "none";
    };
    const std::string want =
        "transport sum_len_peer needs ranks that reach each other's memory, and these 2 do not";
    const auto built = error([&] { DpGather<SumLen<PeerStore>, float, HostsComm>(comm, config); });
    expect(built == "peers are out of reach: they are on several hosts", built);
    DpGather<Auto<>, float, HostsComm> gather(comm, config);
    const Step step = rank.agree({.tokens = 3, .requests = 3, .forward = Forward::decode});
    const auto begun = error([&] {
      gather.begin_step(step,
                        {.local_len = 4,
                         .global_len = 8,
                         .transport = Transport::sum_len_peer_store,
                         .forward = Forward::decode,
                         .is_static = true},
                        {});
    });
    expect(begun == want && gather.choices().total() == 0, begun);
  });
}

TEST_CASE("auto goes by hosts where a captured step has SUM_LEN, and by all-gather-v eagerly") {
  test::on_ranks({.dp = 4}, [](test::Rank& rank) {
    HostsComm comm(rank.comm.split(0, rank.rank()), rank.rank() / 2);
    const GatherConfig config{.layout = rank.layout, .hidden = 2, .max_local_rows = 8, .hosts = 2};
    DpGather<Auto<>, float, HostsComm> gather(comm, config);
    DpGather<Auto<>, float, HostsComm> kept(comm, config, {.peer_stores = false});
    const std::int64_t n = rank.dp() == 3 ? 8 : 1;
    const Step skewed = rank.agree({.tokens = n, .requests = n, .forward = Forward::decode});
    expect(gather.static_transport(skewed) == Transport::sum_len_hierarchical, "captured");
    expect(kept.static_transport(skewed) == Transport::sum_len_all_reduce, "kept");
    expect(gather.exact_shape(skewed).transport == Transport::sum_len_all_gather_v, "eager");
    const Step even = rank.agree({.tokens = 4, .requests = 4, .forward = Forward::decode});
    expect(gather.static_transport(even) == Transport::sum_len_hierarchical, "even");
    expect(gather.exact_shape(even).transport == Transport::max_len, "even and eager");
    gather.begin_step(skewed,
                      {.local_len = 8,
                       .global_len = 16,
                       .transport = Transport::sum_len_hierarchical,
                       .forward = Forward::decode,
                       .is_static = true},
                      {});
    expect(gather.choices()[ChoiceReason::across_hosts] == 1, "reason");
    // What is in reach is part of what all must agree on.
    HostsComm one(rank.comm.split(0, rank.rank()), 0),
        none(rank.comm.split(0, rank.rank()), rank.rank());
    const DpGather<Auto<>, float, HostsComm> near(
        one, {.layout = rank.layout, .hidden = 2, .max_local_rows = 8});
    const DpGather<Auto<>, float, HostsComm> far(
        none, {.layout = rank.layout, .hidden = 2, .max_local_rows = 8});
    expect(near.fingerprint() != far.fingerprint(), "fingerprint");
  });
}
