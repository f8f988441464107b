// SumLen<PeerStore> between threads: stores into peers' buffers, in graphs too.
#include <mutex>
#include <random>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dpgather.hpp>

#include "property/layers.hpp"
#include "support/sanitized.hpp"
#include "support/seed.hpp"

namespace {

using namespace test;
using Peer = Layers<SumLen<PeerStore>, float, ThreadComm<>, HostGraphs>;

/// `steps` steps on one capture, counts changing.
void replay(const DpLayout& layout, int steps, int gathers, std::uint64_t seed) {
  on_ranks(layout, [&](Rank& rank) {
    Peer layers(rank, 6, gathers);
    std::mt19937_64 random(seed);
    for (int step = 0; step < steps; ++step) {
      layers.step(step, draw_rows(random, layout.dp, 6));
      if (step % 16 == 0) layers.check();
    }
    layers.check();
    expect(layers.statistics().replays == static_cast<std::uint64_t>(steps), "replays are ",
           layers.statistics().replays);
  });
}

}  // namespace

TEST_CASE("one capture serves 100,000 steps whose counts change") {
  replay({.dp = 2}, support::sanitized ? 10000 : 100000, 1, support::seed("peer_store replays", 5));
}

TEST_CASE("odd and even numbers of gathers a step, ways back or none, at any number of ranks") {
  const std::uint64_t seed = support::seed("peer_store layers", 6);
  for (const DpLayout& layout : {DpLayout{.dp = 1}, DpLayout{.dp = 2}, DpLayout{.dp = 3},
                                 DpLayout{.dp = 8}, DpLayout{.dp = 2, .attn_tp = 2}})
    for (const int gathers : {1, 2, 3, 6}) {
      INFO(layout.dp, " * ", layout.attn_tp, " ranks, ", gathers, " gathers a step");
      CHECK_NOTHROW(replay(layout, 60, gathers, seed + static_cast<std::uint64_t>(gathers)));
    }
}

TEST_CASE("only rows that exist move, and each rank pulls its own from all") {
  on_ranks({.dp = 3}, [&](Rank& rank) {
    DpGather<SumLen<PeerStore>> gather(rank.comm,
                                       {.layout = rank.layout, .hidden = 5, .max_local_rows = 7});
    const std::int64_t n = rank.dp() == 2 ? 0 : 3 + 4 * rank.dp();
    const Step step = rank.agree({.tokens = n, .requests = n, .forward = Forward::extend});
    const ShapeKey shape = gather.exact_shape(step);
    expect(shape.global_len == 10 && shape.transport == Transport::sum_len_peer_store, shape);
    gather.begin_step(step, shape, {});
    std::vector<float> rows(35, 1.0f), mine(50);
    gather.gather(shape, Rows<const float>(rows.data(), n, 5), {});
    expect(gather.moved().out == 50, "moved out ", gather.moved().out);
    // Not from the slot that peers reach: it is copied there, and stays as it is.
    for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<float>(rank.rank() + 1);
    gather.reduce_scatter(shape, Rows<const float>(mine.data(), 10, 5),
                          Rows<float>(rows.data(), n, 5), {});
    expect(gather.moved().back == static_cast<std::uint64_t>(n * 5 * 3), "moved back ",
           gather.moved().back);
    for (std::int64_t i = 0; i < n * 5; ++i) expect(rows[static_cast<std::size_t>(i)] == 6.0f, i);
    for (const float element : mine)
      expect(element == static_cast<float>(rank.rank() + 1), "partial");
  });
}

TEST_CASE("a rank that fails between two gathers ends its peers with an error") {
  int told = 0;
  std::mutex mutex;
  CHECK_THROWS(on_ranks({.dp = 3}, [&](Rank& rank) {
    Peer layers(rank, 4, 2);
    try {
      layers.step(0, {4, 0, 2});
      if (rank.rank() == 1) throw std::runtime_error("rank 1 gave up");
      layers.step(1, {4, 0, 2});
    } catch (const PeerError&) {
      const std::lock_guard lock(mutex);
      ++told;
      throw;
    } catch (const std::exception& error) {
      rank.agreement.abort(error.what());
      throw;
    }
  }));
  CHECK(told == 2);
}
