// SumLen<Hierarchical> between threads that reach each other's memory on their own host only.
#include <algorithm>
#include <cstdint>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dpgather.hpp>

#include "property/layers.hpp"
#include "support/hosts_comm.hpp"
#include "support/sanitized.hpp"
#include "support/seed.hpp"

namespace {

using namespace test;
using Mode = SumLen<Hierarchical>;
using Gather = DpGather<Mode, float, HostsComm>;

/// `f(RankOf<HostsComm>&)` on every rank.
template <class F>
void on_hosts(const DpLayout& layout, int hosts, const F& f) {
  on_ranks(layout, [&](Rank& rank) {
    HostsComm comm(rank.comm.split(0, rank.rank()), rank.rank() * hosts / layout.world());
    RankOf<HostsComm> mine{comm, rank.control, rank.agreement, layout};
    f(mine);
  });
}

/// Steps on one capture whose counts change, several gathers each, ranks running ahead.
void replay(const DpLayout& layout, int hosts, int steps, int gathers, std::uint64_t seed) {
  on_hosts(layout, hosts, [&](RankOf<HostsComm>& rank) {
    Layers<Mode, float, HostsComm, HostGraphs> layers(rank, 6, gathers, 3, hosts);
    std::mt19937_64 random(seed);
    for (int step = 0; step < steps; ++step) {
      auto rows = draw_rows(random, layout.dp, 6);
      if (step % 3 == 1) {  // all hosts but one have nothing
        const std::int64_t per_host = layout.dp / hosts;
        const auto busy = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(hosts));
        for (std::int64_t d = 0; d < layout.dp; ++d)
          if (d / per_host != busy) rows[static_cast<std::size_t>(d)] = 0;
        rows[static_cast<std::size_t>(busy * per_host)] = 6;
      }
      layers.step(step, rows);
      if (step % 16 == 0) layers.check();
    }
    layers.check();
    expect(layers.statistics().replays == static_cast<std::uint64_t>(steps), "replays are ",
           layers.statistics().replays);
  });
}

float value(int step, std::int64_t dp, std::int64_t i, std::int64_t j) {
  return static_cast<float>((step * 37 + dp * 101 + i * 7 + j) % 1000 + 1);
}

/// Eager steps of exact shapes against a plain computation: what is gathered, pads, and what comes
/// back. With attention TP each rank holds a summand of its rows if `kind` says so.
void eager(const DpLayout& layout, int hosts, Input kind, std::uint64_t seed) {
  constexpr std::int64_t H = 4, most = 40;
  on_hosts(layout, hosts, [&](RankOf<HostsComm>& rank) {
    Gather gather(rank.comm,
                  {.layout = layout, .hidden = H, .max_local_rows = most, .hosts = hosts});
    std::mt19937_64 random(seed);
    std::vector<float> mine(static_cast<std::size_t>(most * H)), out(mine.size());
    for (int s = 0; s < (support::sanitized ? 6 : 20); ++s) {
      std::vector<std::int64_t> counts(static_cast<std::size_t>(layout.dp));
      for (auto& n : counts) n = static_cast<std::int64_t>(random() % 8) * (random() % 3 != 0);
      if (s % 4 == 1) counts[random() % counts.size()] = most;  // one rank has far more
      if (s % 4 == 2) std::fill(counts.begin(), counts.end(), s == 2 ? 0 : 5);
      const auto at = [&](std::int64_t d) { return counts[static_cast<std::size_t>(d)]; };
      const std::int64_t n = at(rank.dp());
      const Step step =
          rank.agree({.tokens = n, .requests = n, .forward = n ? Forward::extend : Forward::idle});
      const ShapeKey shape = gather.exact_shape(step);
      expect(shape.transport == Transport::sum_len_hierarchical, shape);
      gather.begin_step(step, shape, {});
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < H; ++j) {
          float element = value(s, rank.dp(), i, j);
          if (kind == Input::partial) element = rank.tp() == 0 ? element - 5.0f : 0.0f;
          if (kind == Input::partial && rank.tp() == layout.attn_tp - 1) element += 5.0f;
          mine[static_cast<std::size_t>(i * H + j)] = element;
        }
      const auto all =
          gather.gather(shape, Rows<const float>(mine.data(), n, H), HostStream{}, kind);
      std::int64_t row = 0;
      const auto partial = gather.partial_slot(shape);
      for (std::int64_t d = 0; d < layout.dp; ++d)
        for (std::int64_t i = 0; i < round_up(at(d), layout.attn_tp); ++i, ++row)
          for (std::int64_t j = 0; j < H; ++j) {
            const float want = i < at(d) ? value(s, d, i, j) : 0.0f;
            expect(all(row, j) == want, "step ", s, " row ", row, " is ", all(row, j), ", not ",
                   want);
            partial(row, j) = want * static_cast<float>(rank.rank() + 1);
          }
      expect(row == shape.global_len, "global len");
      // What gather returned is the rank's own: peers must be done reading it.
      std::fill(all.data(), all.data() + all.size(), -1.0f);
      gather.reduce_scatter(shape, partial, Rows<float>(out.data(), n, H), {});
      std::fill(partial.data(), partial.data() + partial.size(), -1.0f);
      const auto factor = static_cast<float>(layout.world() * (layout.world() + 1) / 2);
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < H; ++j) {
          const float found = out[static_cast<std::size_t>(i * H + j)];
          expect(found == value(s, rank.dp(), i, j) * factor, "step ", s, " own row ", i, " is ",
                 found);
        }
    }
  });
}

/// Hosts, DP ranks a host, A.
template <class F>
void each_layout(const F& f) {
  for (const int hosts : {1, 2, 4})
    for (const int per_host : {1, 2, 3})
      for (const int attn_tp : {1, 2}) {
        const DpLayout layout{.dp = hosts * per_host, .attn_tp = attn_tp};
        if (support::sanitized && layout.world() > 8) continue;
        INFO(hosts, " hosts of ", per_host, " * ", attn_tp, " ranks");
        CHECK_NOTHROW(f(layout, hosts));
      }
}

}  // namespace

TEST_CASE("one capture serves steps whose counts change, hosts without rows too") {
  const std::uint64_t seed = support::seed("hierarchical replays", 7);
  each_layout([&](const DpLayout& layout, int hosts) {
    replay(layout, hosts, support::sanitized ? 12 : 40, 1 + layout.dp % 3, seed);
  });
}

TEST_CASE("ranks run ahead of each other for many steps") {
  const std::uint64_t seed = support::seed("hierarchical long", 8);
  replay({.dp = 4}, 2, support::sanitized ? 300 : 1500, 2, seed);
}

TEST_CASE("an exact shape moves rows of whole hosts without pads, and back come their sums") {
  const std::uint64_t seed = support::seed("hierarchical eager", 9);
  each_layout([&](const DpLayout& layout, int hosts) {
    eager(layout, hosts, Input::replicate, seed);
    if (layout.attn_tp > 1) eager(layout, hosts, Input::partial, seed + 1);
  });
}

TEST_CASE("leaders receive the rows of hosts, padded in a static shape, and members all rows") {
  on_hosts({.dp = 4}, 2, [](RankOf<HostsComm>& rank) {
    constexpr std::int64_t H = 3;
    Gather gather(rank.comm, {.layout = rank.layout, .hidden = H, .max_local_rows = 8, .hosts = 2});
    const std::int64_t n = rank.dp() == 1 ? 6 : 1;
    std::vector<float> rows(static_cast<std::size_t>(8 * H), 1.0f);
    const Step step = rank.agree({.tokens = n, .requests = n, .forward = Forward::decode});
    const ShapeKey fixed{.local_len = 8,
                         .global_len = 12,
                         .transport = Transport::sum_len_hierarchical,
                         .forward = Forward::decode,
                         .is_static = true};
    const bool leads = rank.rank() % 2 == 0;
    std::uint64_t before = 0;
    const auto moved = [&](const ShapeKey& shape, std::int64_t out, std::int64_t back) {
      gather.begin_step(step, shape, {});
      const std::uint64_t start = gather.moved().back;
      gather.gather(shape, Rows<const float>(rows.data(), 8, H), {});
      expect(gather.moved().out - before == static_cast<std::uint64_t>(out * H), shape, " out ",
             gather.moved().out - before);
      before = gather.moved().out;
      gather.partial_slot(shape)(0, 0) = static_cast<float>(rank.rank());
      gather.reduce_scatter(shape, gather.partial_slot(shape), Rows<float>(rows.data(), 8, H), {});
      expect(gather.moved().back - start == static_cast<std::uint64_t>(back * H), shape, " back ",
             gather.moved().back - start);
    };
    // 9 rows exist: 7 on host 0, 2 on host 1. A host has room for 12, and a member adds 6 rows of
    // the 12 in a static shape: those of blocks 0 and 1 but one, or the other 3.
    const std::int64_t first_half = 6, second_half = 3;
    moved(fixed, leads ? 24 : 9, leads ? 2 * first_half + 24 : 2 * second_half + n);
    const ShapeKey exact = gather.exact_shape(step);
    const std::int64_t of_host = rank.rank() < 2 ? 7 : 2;
    moved(exact, leads ? 9 : 9, leads ? 2 * 5 + 2 * of_host : 2 * 4 + n);
  });
}

TEST_CASE("hosts that do not divide the DP ranks, or out of reach inside, are refused alike") {
  const auto error = [](const DpLayout& layout, int hosts, int true_hosts) {
    std::vector<std::string> found;
    std::mutex mutex;
    on_hosts(layout, true_hosts, [&](RankOf<HostsComm>& rank) {
      try {
        Gather(rank.comm, {.layout = layout, .hidden = 1, .max_local_rows = 1, .hosts = hosts});
      } catch (const InvalidArgument& e) {
        const std::lock_guard lock(mutex);
        found.push_back(e.detail());
      }
    });
    CHECK(found.size() == static_cast<std::size_t>(layout.world()));
    for (const auto& text : found) CHECK(text == found.front());
    return found.empty() ? std::string() : found.front();
  };
  const DpLayout four{.dp = 4}, tp{.dp = 2, .attn_tp = 2};
  CHECK(error(four, 3, 4) == "hosts is 3, must divide the 4 DP ranks of the FFN group");
  CHECK(error(four, 0, 4) == "hosts is 0, must divide the 4 DP ranks of the FFN group");
  CHECK(error(tp, 4, 4) == "hosts is 4, must divide the 2 DP ranks of the FFN group");
  CHECK(error(four, 2, 4) ==
        "transport sum_len_hier needs ranks that reach each other's memory on each of the 2 "
        "hosts, and these do not");
  CHECK(error(four, 1, 2) ==
        "transport sum_len_hier needs ranks that reach each other's memory, and these 4 do not");
}

TEST_CASE("a rank that fails on one host ends the ranks of all hosts with an error") {
  int told = 0;
  std::mutex mutex;
  CHECK_THROWS(on_hosts({.dp = 4}, 2, [&](RankOf<HostsComm>& rank) {
    Layers<Mode, float, HostsComm, HostGraphs> layers(rank, 4, 2, 3, 2);
    try {
      layers.step(0, {4, 0, 2, 1});
      if (rank.rank() == 3) throw std::runtime_error("rank 3 gave up");
      layers.step(1, {4, 0, 2, 1});
    } catch (const PeerError&) {
      const std::lock_guard lock(mutex);
      ++told;
      throw;
    } catch (const std::exception& e) {
      rank.agreement.abort(e.what());
      throw;
    }
  }));
  CHECK(told == 3);
}
