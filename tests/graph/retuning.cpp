// Caches whose sizes follow the traffic: which graphs stay, on all ranks alike.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dp_gather.hpp>
#include <dpgather/graph_cache.hpp>
#include <dpgather/tune/retuned_sizes.hpp>

#include "support/ranks.hpp"
#include "support/seed.hpp"

using namespace dpgather;
using test::expect;

namespace {

using RetunedCache = GraphCache<ShapeKey, RetunedSizes>;
constexpr std::int64_t largest = 48;

RetuneOptions options_for(int ranks) {
  RetuneOptions options;
  options.goal = {.cost = {.ranks = ranks},
                  .largest = largest,
                  .max_shapes = 12,
                  .padding = {.percent = 400, .skew_percent = 300}};
  options.least_steps = 8;
  options.most_patience = 64;
  return options;
}

/// Rows of all ranks in a step; loads move from few to many and back.
std::vector<std::int64_t> counts_of(std::uint64_t seed, int step, int ranks) {
  support::Random random(seed + static_cast<std::uint64_t>(step));
  const std::int64_t mean = step < 100 ? 4 : step < 200 ? 30 : 12;
  std::vector<std::int64_t> counts;
  for (int rank = 0; rank < ranks; ++rank)
    counts.push_back(random.chance(5) ? 0 : random.between(mean * 3 / 4, mean * 5 / 4));
  counts[0] = std::max<std::int64_t>(counts[0], 1);
  return counts;
}

struct Serving {
  Serving(test::Rank& r, const RetuneOptions& options)
      : rank(r),
        gather(r.comm, {.layout = r.layout, .hidden = 1, .max_local_rows = largest}),
        graphs(RetunedSizes(options)) {}

  /// Row i of DP rank d is 1000 * step + 100 * d + i; returns those that exist as the gather saw them.
  std::vector<float> serve(int at, std::int64_t n) {
    const Step step = rank.agree_decode(n);
    shape = graphs.select(step, gather);
    gather.begin_step(step, shape, HostStream{});
    for (std::int64_t i = 0; i < n; ++i)
      input[static_cast<std::size_t>(i)] = static_cast<float>(1000 * at + 100 * rank.dp() + i);
    graphs.run(
        step, shape, HostStream{}, rank.agreement, [this](const ShapeKey& key, HostStream stream) {
          const Rows<float> all =
              gather.gather(key, Rows<const float>(input.data(), key.local_len, 1), stream);
          stream.submit("read",
                        [all, to = &global] { to->assign(all.data(), all.data() + all.size()); });
        });
    const CountsView counts = gather.counts();
    std::vector<float> seen;
    for (std::int64_t d = 0; d < counts.blocks; ++d)
      for (std::int64_t i = 0; i < counts.valid[d]; ++i)
        seen.push_back(global[static_cast<std::size_t>(counts.offsets[d] + i)]);
    return seen;
  }

  test::Rank& rank;
  DpGather<SumLen<AllReduce>> gather;
  RetunedCache graphs;
  ShapeKey shape;
  std::vector<float> input = std::vector<float>(largest);
  std::vector<float> global;
};

std::vector<float> expected(int at, const std::vector<std::int64_t>& counts) {
  std::vector<float> rows;
  for (std::size_t d = 0; d < counts.size(); ++d)
    for (std::int64_t i = 0; i < counts[d]; ++i)
      rows.push_back(
          static_cast<float>(1000 * at + 100 * static_cast<int>(d) + static_cast<int>(i)));
  return rows;
}

/// Some size of now has this shape: lens are sizes here, where a request is a row.
bool among(const RetunedSizes& sizes, const ShapeKey& shape) {
  return std::ranges::any_of(sizes.pairs(), [&](const SizePair& pair) {
    return pair.local == shape.local_len && pair.global == shape.global_len;
  });
}

}  // namespace

TEST_CASE(
    "sizes follow the traffic: rows stay right, graphs of sizes that are gone go, on all ranks") {
  const auto seed = support::seed("retuning caches", 31);
  for (const int dp : {1, 2, 3, 8})
    test::on_ranks({.dp = dp}, [&](test::Rank& rank) {
      Serving serving(rank, options_for(dp));
      std::vector<ShapeKey> seen;
      for (int at = 0; at < 300; ++at) {
        const auto counts = counts_of(seed, at, dp);
        const auto rows = serving.serve(at, counts[static_cast<std::size_t>(rank.dp())]);
        expect(rows == expected(at, counts), "step ", at, " read wrong rows");
        expect(serving.shape.is_static && among(serving.graphs.sizes(), serving.shape), "step ", at,
               " ran at ", serving.shape.to_string());
        if (std::ranges::find(seen, serving.shape) == seen.end()) seen.push_back(serving.shape);
        for (const ShapeKey& key : seen)
          expect(!serving.graphs.holds(key) || among(serving.graphs.sizes(), key), "step ", at,
                 " holds ", key.to_string());
        expect(serving.graphs.size() <= 12, serving.graphs.size(), " graphs are held");
      }
      const GraphStatistics& s = serving.graphs.statistics();
      expect(s.retunings >= 3, s.retunings, " times other sizes");
      expect(s.evictions > 0 && s.captures - s.evictions == serving.graphs.size(), s.captures,
             " captures, ", s.evictions, " dropped");
      expect(s.replays == 300, s.replays, " replays");
      expect(s.ffn_rows < s.rows * 5 / 4, s.ffn_rows, " FFN rows for ", s.rows);
    });
}

TEST_CASE("a rank whose sizes become others alone is a divergence that names both states") {
  const auto seed = support::seed("retuning divergence", 32);
  std::atomic<int> caught = 0;
  CHECK_THROWS_AS(
      test::on_ranks({.dp = 2},
                     [&](test::Rank& rank) {
                       RetuneOptions options = options_for(2);
                       if (rank.rank() == 1) options.drift = 1000;
                       Serving serving(rank, options);
                       try {
                         for (int at = 0; at < 300; ++at)
                           (void)serving.serve(
                               at, counts_of(seed, at, 2)[static_cast<std::size_t>(rank.dp())]);
                       } catch (const DivergenceError& error) {
                         const std::string text = error.detail();
                         caught += text.find("state of the graph cache differs") == 0 &&
                                   text.find("1 times other sizes") != std::string::npos;
                         throw;
                       }
                     }),
      DivergenceError);
  CHECK(caught == 2);
}

TEST_CASE("an engine that captures by itself is told which graphs go") {
  const auto seed = support::seed("retuning engine", 33);
  test::on_ranks({.dp = 2}, [&](test::Rank& rank) {
    DpGather<SumLen<AllReduce>> gather(
        rank.comm, {.layout = rank.layout, .hidden = 1, .max_local_rows = largest});
    PassengerCache<ShapeKey, RetunedSizes> cache{RetunedSizes(options_for(2))};
    std::vector<ShapeKey> held;  // the engine's graphs
    std::size_t retired = 0;
    for (int at = 0; at < 300; ++at) {
      const std::int64_t n = counts_of(seed, at, 2)[static_cast<std::size_t>(rank.dp())];
      const Step step = rank.agree_decode(n);
      const ShapeKey shape = cache.select(step, gather);
      for (const ShapeKey& key : cache.retired()) retired += std::erase(held, key);
      for (const ShapeKey& key : held)
        expect(cache.holds(key), "step ", at, " dropped ", key.to_string(), " silently");
      if (!cache.holds(shape)) {
        (void)cache.note_capture(shape);
        held.push_back(shape);
      }
      cache.note_replay(step, shape);
      expect(held.size() == cache.size(), held.size(), " graphs, the cache has ", cache.size());
    }
    expect(retired > 0 && retired == cache.statistics().evictions, retired, " were retired");
  });
}
