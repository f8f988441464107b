#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/graph_cache.hpp>

#include "support/allocations.hpp"
#include "support/ranks.hpp"

using namespace dpgather;
using test::expect;

namespace {

/// A backend whose graphs take what the test says.
struct SizedGraphs {
  struct Graph {
    std::uint64_t bytes = 0;
    std::shared_ptr<int> alive;
  };
  using stream_type = HostStream;
  using graph_type = Graph;
  static constexpr bool warms_up = false;
  static inline thread_local std::uint64_t next = 0;   // bytes of the next graph
  static inline thread_local std::uint64_t later = 0;  // that preparing it takes
  static inline thread_local int live = 0;             // graphs there are
  static inline thread_local int live_when_prepared = 0;
  static inline thread_local int launches = 0;

  template <class Body>
  static Graph capture(HostStream, Body&& body) {
    Recording recording;
    body(HostStream(recording));
    ++live;
    return {next, std::shared_ptr<int>(new int, [](const int* p) { --live, delete p; })};
  }
  static void prepare(Graph& graph, HostStream) {
    graph.bytes += later;
    live_when_prepared = live;
  }
  static void launch(const Graph& graph, HostStream, const ErrorContext&) {
    launches += graph.alive ? 1 : 1000;
  }
  static std::size_t bytes(const Graph& graph) { return graph.bytes; }
};

ShapeKey key_of(std::int64_t len, std::int64_t blocks = 1) {
  return {
      .local_len = len, .global_len = len * blocks, .forward = Forward::decode, .is_static = true};
}

/// One rank that runs keys by their length, in steps of `rows` rows.
template <class Eviction>
struct Cache {
  Cache(test::Rank& r, Eviction eviction) : rank(r), graphs(CaptureSizes::sglang(64), eviction) {}

  /// What it was: a replay, or the reason why it was eager.
  EagerReason run(std::int64_t len, std::uint64_t bytes, std::int64_t rows = 1) {
    SizedGraphs::next = bytes;
    const Step step = rank.agree({.tokens = rows, .requests = rows, .forward = Forward::decode});
    const auto before = graphs.statistics();
    graphs.run(step, key_of(len, rank.layout.dp), HostStream{}, rank.agreement,
               [](const ShapeKey&, HostStream) {});
    for (std::size_t i = 0; i < eager_reasons; ++i)
      if (graphs.statistics().eager[i] != before.eager[i]) return static_cast<EagerReason>(i);
    return EagerReason::none;
  }
  [[nodiscard]] bool holds(std::int64_t len) const {
    return graphs.holds(key_of(len, rank.layout.dp));
  }
  /// Lengths held, of 1 to 9.
  [[nodiscard]] std::string held() const {
    std::string lens;
    for (std::int64_t len = 1; len <= 9; ++len)
      if (holds(len)) lens += concat(len);
    return lens;
  }

  test::Rank& rank;
  GraphCache<ShapeKey, CaptureSizes, Eviction, SizedGraphs> graphs;
};

/// On one rank, with a fresh cache.
template <class Eviction, class F>
void with(Eviction eviction, const F& f) {
  test::on_ranks({.dp = 1}, [&](test::Rank& rank) {
    Cache<Eviction> cache(rank, eviction);
    f(cache);
  });
}

}  // namespace

TEST_CASE("LeastRecentlyUsed drops the graph that was replayed longest ago, up to a number") {
  with(LeastRecentlyUsed{{.graphs = 3}}, [](auto& cache) {
    for (const int len : {1, 2, 3, 1, 4}) (void)cache.run(len, 10);
    expect(cache.held() == "134", cache.held());
    (void)cache.run(2, 10);  // captured anew; 3 goes, used before 1 and 4
    expect(cache.held() == "124", cache.held());
    const auto& s = cache.graphs.statistics();
    expect(s.captures == 5 && s.evictions == 2 && s.replays == 6 && s.agreed_bytes == 30 &&
               s.graph_bytes == 30,
           "statistics");
  });
}

TEST_CASE("a byte budget drops as many as the new graph needs, and no more") {
  with(LeastRecentlyUsed{{.bytes = 100}}, [](auto& cache) {
    for (const int len : {1, 2, 3, 4}) (void)cache.run(len, 25);
    expect(cache.held() == "1234", cache.held());
    (void)cache.run(5, 40);
    expect(cache.held() == "345", cache.held());
    (void)cache.run(6, 100);
    expect(cache.held() == "6" && cache.graphs.statistics().agreed_bytes == 100, cache.held());
  });
}

TEST_CASE(
    "a graph that alone is above the budget is not kept, drops nothing, and is not tried again") {
  with(LeastRecentlyUsed{{.bytes = 100}}, [](auto& cache) {
    (void)cache.run(1, 60);
    expect(cache.run(2, 101) == EagerReason::over_budget, "that step is eager");
    expect(cache.run(2, 1) == EagerReason::over_budget, "and the next");
    const auto& s = cache.graphs.statistics();
    expect(cache.held() == "1" && s.over_budget == 1 && s.captures == 1 && s.evictions == 0,
           "statistics");
    expect(cache.graphs.refused(key_of(2)) == EagerReason::over_budget, "refused");
    cache.graphs.invalidate(cache.rank.agreement);
    expect(cache.run(2, 1) == EagerReason::none && cache.held() == "2", "after invalidate");
  });
}

TEST_CASE("KeepAll serves who comes first: what does not fit stays eager") {
  with(KeepAll{{.graphs = 2, .bytes = 100}}, [](auto& cache) {
    (void)cache.run(1, 60);
    expect(cache.run(2, 50) == EagerReason::over_budget, "bytes");
    expect(cache.run(3, 40) == EagerReason::none, "what fits");
    expect(cache.run(4, 0) == EagerReason::over_budget, "number");
    expect(cache.held() == "13" && cache.graphs.statistics().evictions == 0, cache.held());
  });
  with(KeepAll{}, [](auto& cache) {
    for (int len = 1; len <= 9; ++len)
      (void)cache.run(len, std::numeric_limits<std::uint64_t>::max());
    expect(cache.held() == "123456789", "no budget, no limit, and no overflow");
  });
}

TEST_CASE("LeastBenefit drops what served the fewest rows per byte") {
  with(LeastBenefit{.budget = {.graphs = 3}}, [](auto& cache) {
    for (int i = 0; i < 4; ++i) (void)cache.run(8, 100, 8);  // 32 rows, 100 bytes: 0.32
    (void)cache.run(1, 1, 1);                                // 1 row, 1 byte: 1
    for (int i = 0; i < 9; ++i) (void)cache.run(4, 400, 4);  // 36 rows, 400 bytes: 0.09
    (void)cache.run(2, 10, 2);
    expect(cache.held() == "128", cache.held());
    (void)cache.run(3, 10, 1);  // 2 had 0.2
    expect(cache.held() == "138", cache.held());
  });
}

TEST_CASE("LeastBenefit forgets: rows of half-lives ago count less, and pads never count") {
  const auto then = [](std::int64_t half_life) {
    std::string held;
    with(LeastBenefit{.budget = {.graphs = 2}, .half_life = half_life}, [&](auto& cache) {
      for (int i = 0; i < 8; ++i) (void)cache.run(9, 10, 9);   // 72 rows, long ago
      for (int i = 0; i < 30; ++i) (void)cache.run(8, 10, 1);  // 30 rows
      (void)cache.run(1, 10);
      held = cache.held();
    });
    return held;
  };
  CHECK(then(1000) == "19");
  CHECK(then(8) == "18");
}

TEST_CASE(
    "where benefits are equal, as among graphs never replayed, the one used longest ago goes") {
  const LeastBenefit policy;
  const GraphUse a{.bytes = 3, .score = 1 << 8, .scored = 0}, b{.bytes = 6, .score = 2 << 8};
  CHECK(!policy.goes_first(a, b, 1));
  CHECK(!policy.goes_first(b, a, 1));
  CHECK(policy.goes_first({.bytes = 6, .score = 255}, {.bytes = 6, .score = 256}, 1));
  // 1/3 < 3/8 < 2/5, which one digit of a quotient does not tell.
  CHECK(policy.goes_first({.bytes = 3, .score = 1}, {.bytes = 8, .score = 3}, 0));
  CHECK(policy.goes_first({.bytes = 8, .score = 3}, {.bytes = 5, .score = 2}, 0));
  CHECK(!policy.goes_first({.bytes = 5, .score = 2}, {.bytes = 3, .score = 1}, 0));
  CHECK(policy.goes_first({.bytes = 0, .score = 1}, {.bytes = 0, .score = 2}, 0));  // not known
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  CHECK(policy.goes_first({.bytes = most, .score = most - 2},
                          {.bytes = most - 1, .score = most - 2}, 0));
}

TEST_CASE("scores do not overflow, whatever is replayed") {
  LeastBenefit policy{.half_life = LeastBenefit::longest_half_life};
  GraphUse use{.bytes = 1};
  std::uint64_t last = 0;
  int fell = 0;
  for (std::uint64_t now = 1; now < 4'000'000; ++now) {
    policy.used(use, std::numeric_limits<std::uint64_t>::max(), now);
    if (now / LeastBenefit::longest_half_life == (now - 1) / LeastBenefit::longest_half_life)
      fell += use.score <= last;
    last = use.score;
  }
  CHECK(fell == 0);
  policy.used(use, 0, std::numeric_limits<std::uint64_t>::max());
  CHECK(use.score == 0);
}

TEST_CASE("budgets and half-lives that cannot be are refused with value and limit") {
  const auto sizes = CaptureSizes::sglang(8);
  CHECK_THROWS_WITH_AS(GraphCache(sizes, KeepAll{{.graphs = -1}}),
                       "[GraphBudget] graphs is -1, must be 0 (no limit) or more", InvalidArgument);
  CHECK_THROWS_WITH_AS(GraphCache(sizes, LeastRecentlyUsed{{.bytes = -5}}),
                       "[GraphBudget] bytes is -5, must be 0 (no limit) or more", InvalidArgument);
  for (const std::int64_t half_life : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 40})
    CHECK_THROWS_WITH_AS(GraphCache(sizes, LeastBenefit{.half_life = half_life}),
                         doctest::Contains("must be 1 to 1048576"), InvalidArgument);
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  CHECK_NOTHROW(GraphCache(sizes, LeastRecentlyUsed{{.graphs = most, .bytes = most}}));
}

TEST_CASE(
    "a cache's fingerprint holds policy and budget, so that ranks set up differently are told") {
  const auto sizes = CaptureSizes::sglang(8);
  const std::vector<std::uint64_t> prints{
      GraphCache(sizes).fingerprint(),
      GraphCache(sizes, KeepAll{{.graphs = 1}}).fingerprint(),
      GraphCache(sizes, KeepAll{{.bytes = 1}}).fingerprint(),
      GraphCache(sizes, LeastRecentlyUsed{{.graphs = 1}}).fingerprint(),
      GraphCache(sizes, LeastBenefit{.budget = {.graphs = 1}}).fingerprint(),
      GraphCache(sizes, LeastBenefit{.budget = {.graphs = 1}, .half_life = 2}).fingerprint(),
      GraphCache(CaptureSizes::sglang(4)).fingerprint()};
  for (std::size_t i = 0; i < prints.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(prints[i] != prints[j]);
  CHECK(prints[0] == GraphCache(sizes, KeepAll{}).fingerprint());
}

TEST_CASE("a graph costs what it takes on the rank where it takes most, on every rank") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    Cache cache(rank, LeastRecentlyUsed{{.bytes = 100}});
    const auto bytes = static_cast<std::uint64_t>(10 + 20 * rank.rank());
    (void)cache.run(1, bytes);
    (void)cache.run(2, bytes);
    const auto& s = cache.graphs.statistics();
    expect(cache.held() == "12" && s.agreed_bytes == 100 && s.graph_bytes == 2 * bytes, "bytes");
    (void)cache.run(3, 1);
    expect(cache.held() == "23", cache.held());
    expect(cache.run(4, rank.rank() == 1 ? 101 : 1) == EagerReason::over_budget,
           "too large on rank 1, so eager on all");
  });
}

TEST_CASE("what goes is destroyed before the new graph is made ready") {
  with(LeastRecentlyUsed{{.graphs = 2}}, [](auto& cache) {
    for (int len = 1; len <= 9; ++len) {
      (void)cache.run(len, 1);
      expect(SizedGraphs::live_when_prepared <= 2, SizedGraphs::live_when_prepared, " graphs");
    }
    expect(SizedGraphs::live == 2 && SizedGraphs::launches == 9, SizedGraphs::launches);
  });
  CHECK(SizedGraphs::live == 0);
}

TEST_CASE("bytes that making a graph ready took count from the next capture on") {
  SizedGraphs::later = 0;
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Cache cache(rank, LeastRecentlyUsed{{.bytes = 100}});
    (void)cache.run(1, 30);
    SizedGraphs::later = rank.rank() == 1 ? 20 : 5;
    (void)cache.run(2, 30);
    SizedGraphs::later = 0;
    const auto& s = cache.graphs.statistics();
    expect(s.agreed_bytes == 60 && s.graph_bytes == (rank.rank() == 1 ? 80u : 65u), "own bytes");
    (void)cache.run(3, 20);
    expect(cache.held() == "123" && s.agreed_bytes == 100, "2 counts 50: ", s.agreed_bytes);
    SizedGraphs::later = 90;
    (void)cache.run(4, 20);
    SizedGraphs::later = 0;
    expect(cache.held() == "234" && s.agreed_bytes == 90, cache.held());
    (void)cache.run(5, 1);
    expect(cache.held() == "235" && cache.graphs.refused(key_of(4, 2)) == EagerReason::over_budget,
           "4 turned out to be above the budget by itself: ", cache.held());
    expect(cache.run(4, 1) == EagerReason::over_budget, "and is not tried again");
  });
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    Cache cache(rank, KeepAll{{.bytes = 100}});
    (void)cache.run(1, 60);
    SizedGraphs::later = 30;
    (void)cache.run(2, 30);
    SizedGraphs::later = 0;
    (void)cache.run(3, 1);
    expect(cache.held() == "13", "KeepAll lets go of the one that grew: ", cache.held());
  });
}

TEST_CASE("an engine that captures by itself is told what to drop, and what not to keep") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    PassengerCache cache(CaptureSizes::sglang(8), LeastRecentlyUsed{{.graphs = 2, .bytes = 100}});
    const auto end = [&](std::int64_t len, std::uint64_t bytes, bool ok = true) {
      (void)rank.agree({.tokens = 1, .requests = 1, .forward = Forward::decode});
      return cache.end_capture(rank.agreement, key_of(len), ok, "no memory", bytes);
    };
    expect(end(1, 30).kept && end(2, rank.rank() == 1 ? 50 : 1).kept, "kept");
    const auto third = end(3, 50);
    expect(third.kept && third.bytes == 50 && third.dropped == std::vector{key_of(1)}, "1 goes");
    const auto large = end(4, 101);
    expect(!large.kept && large.dropped.empty() && !cache.holds(key_of(4)), "not kept");
    const auto failed = end(5, 1, rank.rank() == 0);
    expect(!failed.kept && cache.last_failure() == "rank 1 failed: no memory", "failed");
    expect(cache.refused(key_of(5)) == EagerReason::capture_failed &&
               cache.refused(key_of(4)) == EagerReason::over_budget &&
               cache.refused(key_of(2)) == EagerReason::none,
           "refused");
    const Step step = rank.agree({.tokens = 1, .requests = 1, .forward = Forward::decode});
    cache.note_replay(step, key_of(2));
    try {
      cache.note_replay(step, key_of(1));
      expect(false, "a graph that was dropped was let through");
    } catch (const GraphError&) {
    }
    expect(end(3, 10).kept && cache.size() == 2 && cache.statistics().agreed_bytes == 60,
           "captured anew");
    const auto noted = cache.note_capture(key_of(6), 20);  // agreed by the engine itself
    expect(noted.kept && noted.dropped == std::vector{key_of(2)}, "2 goes");
    expect(cache.statistics().evictions == 2 && cache.statistics().over_budget == 1, "statistics");
  });
}

TEST_CASE(
    "keys that are gone are dropped on request, and those of them that stayed eager are free "
    "again") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Cache cache(rank, KeepAll{{.graphs = 3}});
    for (int len = 1; len <= 5; ++len) (void)cache.run(len, 10);
    (void)cache.run(1, 10);
    const auto dropped = cache.graphs.drop_if(
        rank.agreement, [](const ShapeKey& key) { return key.local_len % 2 == 1; });
    expect(dropped == std::vector{key_of(1, 2), key_of(3, 2)}, "latest used first");
    const auto& s = cache.graphs.statistics();
    expect(cache.held() == "2" && s.evictions == 2 && s.agreed_bytes == 10, cache.held());
    expect(cache.run(4, 10) == EagerReason::over_budget, "4 is not gone");
    expect(cache.run(5, 10) == EagerReason::none && cache.held() == "25", "5 may be captured");
  });
}

TEST_CASE("steps under a budget allocate nothing where nothing is captured") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Cache cache(rank, LeastBenefit{.budget = {.graphs = 3, .bytes = 100}});
    for (int i = 0; i < 10; ++i) (void)cache.run(i % 3 + 1, 30);
    (void)cache.run(9, 101);
    const auto before = support::allocations_of_this_thread();
    for (int i = 0; i < 100; ++i) (void)cache.run(i % 4 == 3 ? 9 : i % 3 + 1, 30);
    const auto count = support::allocations_of_this_thread() - before;
    expect(count == 0, count, " allocations");
  });
}

TEST_CASE("captured keys before serving: the policy says which of them are held") {
  with(LeastRecentlyUsed{{.graphs = 2}}, [](auto& cache) {
    const std::vector<ShapeKey> keys{key_of(1), key_of(8), key_of(4)};
    cache.graphs.capture_all(std::span<const ShapeKey>(keys), HostStream{}, cache.rank.agreement,
                             [](const ShapeKey&, HostStream) {});
    expect(cache.held() == "14", "largest first, so it went: ", cache.held());
  });
  with(KeepAll{{.graphs = 2}}, [](auto& cache) {
    const std::vector<ShapeKey> keys{key_of(1), key_of(8), key_of(4)};
    cache.graphs.capture_all(std::span<const ShapeKey>(keys), HostStream{}, cache.rank.agreement,
                             [](const ShapeKey&, HostStream) {});
    expect(cache.held() == "48", cache.held());
  });
}

TEST_CASE("a recording's bytes are counted, so that a byte budget holds on the host too") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    GraphCache graphs(CaptureSizes::sglang(8), LeastRecentlyUsed{{.bytes = 4000}});
    const auto run = [&](std::int64_t len, int operations) {
      const Step step = rank.agree({.tokens = 1, .requests = 1, .forward = Forward::decode});
      graphs.run(step, key_of(len), HostStream{}, rank.agreement,
                 [&](const ShapeKey&, HostStream stream) {
                   for (int i = 0; i < operations; ++i) stream.submit("nothing", [] {});
                 });
    };
    run(1, 10);
    const auto ten = graphs.statistics().graph_bytes;
    expect(ten >= 10 * sizeof(void*) && ten < 4000 / 3, ten, " bytes");
    run(2, 20);
    expect(graphs.statistics().agreed_bytes == 3 * ten, "proportional");
    run(3, 1000);
    expect(graphs.refused(key_of(3)) == EagerReason::over_budget, "above the budget");
  });
}
