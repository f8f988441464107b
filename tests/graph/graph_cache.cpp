#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dp_gather.hpp>
#include <dpgather/graph_cache.hpp>

#include "support/allocations.hpp"
#include "support/ranks.hpp"

using namespace dpgather;
using test::expect;

namespace {

Phase decode(std::int64_t n) {
  return {.tokens = n, .requests = n, .forward = n ? Forward::decode : Forward::idle};
}

/// A rank with a gather and a cache, and a body that counts how often it was called (captured or
/// eager).
template <class Mode = MaxLen>
struct Serving {
  explicit Serving(test::Rank& r, CaptureSizes sizes = CaptureSizes::sglang(16))
      : rank(r),
        gather(r.comm, {.layout = r.layout, .hidden = 2, .max_local_rows = 64}),
        graphs(std::move(sizes)) {}

  /// Rows are 100 * rank + i + base; returns what the gather saw after the step.
  std::vector<float> serve(std::int64_t n, float base = 0) {
    const Step step = rank.agree(decode(n));
    shape = graphs.select(step, gather);
    gather.begin_step(step, shape, HostStream{});
    for (std::int64_t i = 0; i < n; ++i)
      std::fill_n(input.data() + i * 2, 2,
                  static_cast<float>(100 * rank.dp()) + static_cast<float>(i) + base);
    auto body = std::make_unique<Body>(Body{this, std::vector<float>(64)});
    graphs.run(step, shape, HostStream{}, rank.agreement, *body);
    body.reset();  // what a graph replays must not need it
    const CountsView counts = gather.counts();
    std::vector<float> seen;
    for (std::int64_t d = 0; d < counts.blocks; ++d)
      for (std::int64_t i = 0; i < counts.valid[d]; ++i)
        seen.push_back(global[static_cast<std::size_t>((counts.offsets[d] + i) * 2)]);
    return seen;
  }
  struct Body {
    Serving* serving;
    std::vector<float> junk;  // destroyed with the body
    void operator()(const ShapeKey& key, HostStream stream) const {
      Serving& s = *serving;
      ++s.body_calls;
      if (s.fail_capture && stream.capturing())
        throw std::runtime_error("allocation during capture");
      const Rows<float> all =
          s.gather.gather(key, Rows<const float>(s.input.data(), key.local_len, 2), stream);
      stream.submit("read",
                    [all, to = &s.global] { to->assign(all.data(), all.data() + all.size()); });
    }
  };

  test::Rank& rank;
  DpGather<Mode> gather;
  GraphCache<> graphs;
  ShapeKey shape;
  std::vector<float> input = std::vector<float>(128, -1.0f);
  std::vector<float> global;
  int body_calls = 0;
  bool fail_capture = false;
};

std::vector<float> expected(const std::vector<std::int64_t>& counts, float base = 0) {
  std::vector<float> rows;
  for (std::size_t d = 0; d < counts.size(); ++d)
    for (std::int64_t i = 0; i < counts[d]; ++i)
      rows.push_back(100.0f * static_cast<float>(d) + static_cast<float>(i) + base);
  return rows;
}

}  // namespace

TEST_CASE(
    "a key is captured once and replayed with new counts and new rows after the body is gone") {
  for (const int dp : {1, 2, 3, 8})
    test::on_ranks({.dp = dp}, [dp](test::Rank& rank) {
      Serving serving(rank);
      for (int i = 0; i < 12; ++i) {
        std::vector<std::int64_t> counts(static_cast<std::size_t>(dp));
        for (int d = 0; d < dp; ++d) counts[static_cast<std::size_t>(d)] = d == 0 ? 8 : (d + i) % 8;
        const auto seen =
            serving.serve(counts[static_cast<std::size_t>(rank.dp())], static_cast<float>(i));
        expect(seen == expected(counts, static_cast<float>(i)), "step ", i, " read wrong rows");
      }
      expect(serving.body_calls == 1, "the body ran ", serving.body_calls, " times");
      const auto& s = serving.graphs.statistics();
      expect(s.captures == 1 && s.replays == 12 && s.eager_steps() == 0, "statistics");
      expect(
          s.attention_rows == 12u * 8 * static_cast<unsigned>(dp) && s.ffn_rows == s.attention_rows,
          "rows computed");
    });
}

TEST_CASE("a captured sum reads offsets at replay") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    Serving<SumLen<AllReduce>> serving(rank);
    for (int i = 0; i < 8; ++i) {
      const std::vector<std::int64_t> counts{8, (i * 3) % 5,
                                             7 - (i * 3) % 5};  // sum and max stay in one key
      expect(serving.serve(counts[static_cast<std::size_t>(rank.dp())]) == expected(counts),
             "step ", i);
    }
    expect(serving.body_calls == 1 && serving.shape.global_len == 16, "one key expected");
  });
}

TEST_CASE("above the largest size all ranks run eagerly, and below it they return to graphs") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    for (const std::int64_t longest : {16, 17, 40, 3}) {
      const std::vector<std::int64_t> counts{1, longest};
      expect(serving.serve(counts[static_cast<std::size_t>(rank.dp())]) == expected(counts),
             "rows at ", longest);
      expect(serving.shape.is_static == (longest <= 16), "graph at ", longest);
    }
    const auto& s = serving.graphs.statistics();
    expect(s.eager[static_cast<std::size_t>(EagerReason::too_large)] == 2 && s.replays == 2,
           "statistics");
  });
}

TEST_CASE("an idle rank replays with no rows; a step without any rows is eager") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    expect(serving.serve(rank.dp() == 0 ? 3 : 0) == expected({3, 0}), "rank 1 is idle");
    expect(serving.serve(0).empty(), "all are idle");
    expect(serving.graphs.statistics().eager[static_cast<std::size_t>(EagerReason::no_rows)] == 1,
           "statistics");
  });
}

TEST_CASE("all-gather-v takes counts as arguments: its steps stay eager") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving<SumLen<AllGatherV>> serving(rank);
    expect(serving.serve(rank.dp() + 1) == expected({1, 2}), "rows");
    expect(serving.graphs.statistics()
                   .eager[static_cast<std::size_t>(EagerReason::mode_not_capturable)] == 1,
           "statistics");
  });
}

TEST_CASE("a capture that fails on one rank makes its key eager on all, in that same step") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    Serving serving(rank);
    serving.fail_capture = rank.rank() == 1;
    for (int i = 0; i < 3; ++i)
      expect(serving.serve(5) == expected({5, 5, 5}), "step ", i, " has wrong rows");
    expect(serving.graphs.size() == 0 &&
               serving.graphs.last_failure() == "rank 1 failed: allocation during capture",
           serving.graphs.last_failure());
    const auto& s = serving.graphs.statistics();
    expect(s.failed_captures == 1 &&
               s.eager[static_cast<std::size_t>(EagerReason::capture_failed)] == 3,
           "statistics");
    serving.fail_capture = false;
    expect(serving.serve(1) == expected({1, 1, 1}) && serving.graphs.size() == 1,
           "another key still captures");
  });
}

TEST_CASE("begin_step inside a capture is refused: counts would be baked") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    Serving serving(rank);
    const Step step = rank.agree(decode(2));
    const ShapeKey shape = serving.graphs.select(step, serving.gather);
    Recording recording;
    try {
      serving.gather.begin_step(step, shape, HostStream(recording));
      expect(false, "begin_step was captured");
    } catch (const InvalidArgument& error) {
      expect(error.detail().find("before the captured part") != std::string::npos, error.detail());
    }
  });
}

TEST_CASE("a step that was not begun is refused instead of served with old counts") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    (void)serving.serve(2);
    const auto body = [](const ShapeKey&, HostStream) {};
    for (const std::int64_t n : {2, 40}) {  // a graph that is there, and an eager step
      const Step step = rank.agree(decode(n));
      const ShapeKey shape = serving.graphs.select(step, serving.gather);
      try {
        serving.graphs.run(step, shape, HostStream{}, rank.agreement, body);
        expect(false, "ran with the counts of an older step");
      } catch (const InvalidArgument& error) {
        expect(error.detail().find("began step 0, not this one") != std::string::npos,
               error.detail());
      }
    }
  });
}

TEST_CASE("begin_step inside the body is found at the first replay, whatever stream it was given") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    DpGather<MaxLen> head(rank.comm, {.layout = rank.layout, .hidden = 1, .max_local_rows = 16});
    Serving serving(rank);
    std::vector<float> rows(16);
    Step step;
    const auto body = [&](const ShapeKey& key, HostStream stream) {
      head.begin_step(step, key, HostStream{});  // runs at capture, never again
      (void)head.gather(key, Rows<const float>(rows.data(), key.local_len, 1), stream);
    };
    std::string text;
    for (int i = 0; i < 2; ++i) {
      step = rank.agree(decode(3));
      const ShapeKey shape = serving.graphs.select(step, serving.gather);
      serving.gather.begin_step(step, shape, HostStream{});
      try {
        serving.graphs.run(step, shape, HostStream{}, rank.agreement, body);
      } catch (const GraphError& error) {
        text = error.what();
      }
    }
    expect(text.find("[rank 0, step 1, GraphCache] DpGather of rank 0 began step 0") == 0, text);
  });
}

TEST_CASE("caches that differ between ranks are a divergence at the next agreement, not a hang") {
  std::atomic<int> caught = 0;
  CHECK_THROWS_AS(
      test::on_ranks({.dp = 2},
                     [&](test::Rank& rank) {
                       Serving serving(rank);
                       (void)serving.serve(4);
                       if (rank.rank() == 1) serving.graphs.invalidate(rank.agreement);
                       try {
                         (void)serving.serve(4);
                       } catch (const DivergenceError& error) {
                         caught += error.detail().find("state of the graph cache differs") == 0;
                         throw;
                       }
                     }),
      DivergenceError);
  CHECK(caught == 2);
}

TEST_CASE("an exact shape cannot be captured") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    Serving serving(rank);
    const Step step = rank.agree(decode(2));
    const ShapeKey exact = serving.gather.exact_shape(step);
    serving.gather.begin_step(step, exact, HostStream{});
    Recording recording;
    try {
      serving.gather.gather(exact, Rows<const float>(serving.input.data(), 2, 2),
                            HostStream(recording));
      expect(false, "an exact shape was captured");
    } catch (const InvalidArgument& error) {
      expect(error.detail().find("cannot be captured") != std::string::npos, error.detail());
    }
  });
}

TEST_CASE("the replay guard refuses a step that the graph was not captured for") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    (void)serving.serve(4);
    const ShapeKey small = serving.shape;
    const Step larger = rank.agree(decode(9));
    const auto body = [](const ShapeKey&, HostStream) {};
    try {
      serving.graphs.run(larger, small, HostStream{}, rank.agreement, body);
      expect(false, "replayed too many rows");
    } catch (const CapacityError& error) {
      expect(error.detail() == "a rank has 9 rows, the graph was captured for 4", error.detail());
    }
    const Step verify =
        rank.agree({.tokens = 4, .requests = 2, .forward = Forward::target_verify, .width = 2});
    try {
      serving.graphs.run(verify, small, HostStream{}, rank.agreement, body);
      expect(false, "replayed another forward mode");
    } catch (const InvalidArgument& error) {
      expect(error.detail().find("the step is target_verify with width 2") != std::string::npos,
             error.detail());
    }
  });
}

TEST_CASE("device work clamps a count above the captured len and status reports it") {
  // What is left if the host-side guard is bypassed: a graph replayed by hand after a larger step
  // began.
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    const Step small = rank.agree(decode(4));
    const ShapeKey shape = serving.graphs.select(small, serving.gather);
    serving.gather.begin_step(small, shape, HostStream{});
    Recording recording;
    serving.gather.gather(shape, Rows<const float>(serving.input.data(), shape.local_len, 2),
                          HostStream(recording));
    const Step large = rank.agree(decode(12));
    serving.gather.begin_step(large, serving.gather.exact_shape(large), HostStream{});
    recording.replay();
    try {
      serving.gather.status();
      expect(false, "status is silent");
    } catch (const CapacityError& error) {
      expect(error.detail().find("a count of 12 rows") != std::string::npos, error.detail());
    }
    serving.gather.status();  // read and cleared
  });
}

TEST_CASE("all keys are captured before serving, largest first, and then only replayed") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    const auto keys = max_len_shapes(serving.graphs.sizes(), rank.layout);
    std::vector<std::int64_t> order;
    serving.graphs.capture_all(
        std::span<const ShapeKey>(keys), HostStream{}, rank.agreement,
        [&](const ShapeKey& key, HostStream stream) {
          order.push_back(key.local_len);
          (*std::make_unique<Serving<>::Body>(Serving<>::Body{&serving, {}}))(key, stream);
        });
    expect(order == std::vector<std::int64_t>{16, 12, 8, 4, 2, 1}, "order of capture");
    for (const std::int64_t n : {1, 2, 3, 7, 11, 16})
      expect(serving.serve(n) == expected({n, n}), "rows at ", n);
    expect(serving.graphs.statistics().captures == 6 && serving.body_calls == 6,
           "nothing was captured while serving");
  });
}

TEST_CASE("invalidate drops every graph and they are captured anew") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    (void)serving.serve(4);
    serving.graphs.invalidate(rank.agreement);
    expect(serving.graphs.size() == 0 && serving.graphs.generation() == 1, "still there");
    expect(serving.serve(4, 7) == expected({4, 4}, 7) && serving.body_calls == 2, "captured anew");
  });
}

TEST_CASE("a gather made anew drops the graphs of the one before it, on all ranks alike") {
  static std::atomic<int> reports{0};
  const auto old = destructor_error_handler();
  destructor_error_handler() = +[](const char*) noexcept { ++reports; };
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const GatherConfig config{.layout = rank.layout, .hidden = 1, .max_local_rows = 8};
    GraphCache<> graphs(CaptureSizes::sglang(8));
    std::vector<float> input(8);
    const auto serve = [&](DpGather<MaxLen>& gather, float value) {
      const Step step = rank.agree(decode(2));
      const ShapeKey shape = graphs.select(step, gather);
      gather.begin_step(step, shape, HostStream{});
      std::fill(input.begin(), input.end(), value + static_cast<float>(rank.dp()));
      Rows<float> all;
      graphs.run(
          step, shape, HostStream{}, rank.agreement, [&](const ShapeKey& key, HostStream stream) {
            all = gather.gather(key, Rows<const float>(input.data(), key.local_len, 1), stream);
          });
      return gather.gather(shape, Rows<const float>(input.data(), shape.local_len, 1),
                           HostStream{})(gather.counts().offsets[1], 0);
    };
    auto gather = std::make_unique<DpGather<MaxLen>>(rank.comm, config);
    expect(serve(*gather, 1) == 2.0f && graphs.size() == 1, "captured");
    gather = nullptr;
    gather = std::make_unique<DpGather<MaxLen>>(rank.comm, config);
    expect(serve(*gather, 5) == 6.0f && graphs.size() == 1, "served by a graph of the old gather");
    expect(graphs.statistics().captures == 2 && graphs.statistics().invalidations == 1,
           "captured anew");
    expect(serve(*gather, 7) == 8.0f && graphs.statistics().captures == 2, "and kept");
  });
  CHECK(reports == 4);  // of graphs over both gathers, on each rank: the cache outlives them here
  destructor_error_handler() = old;
}

TEST_CASE("a graph over a gather that is gone is refused, not run") {
  static std::string report;
  const auto old = destructor_error_handler();
  destructor_error_handler() = +[](const char* message) noexcept { report = message; };
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    Recording recording;
    std::vector<float> rows(8, 1.0f);
    {
      DpGather<MaxLen> gather(rank.comm, {.layout = rank.layout, .hidden = 2, .max_local_rows = 4});
      const ShapeKey shape{
          .local_len = 4, .global_len = 4, .forward = Forward::decode, .is_static = true};
      gather.gather(shape, Rows<const float>(rows.data(), 4, 2), HostStream(recording));
    }
    try {
      recording.replay();
      expect(false, "replayed over freed buffers");
    } catch (const GraphError&) {
    }
  });
  CHECK(report.find("DpGather of rank 0 was destroyed while 1 captured graphs hold it") !=
        std::string::npos);
  destructor_error_handler() = old;
}

TEST_CASE(
    "passenger mode: an engine that captures by itself gets keys, guard, invalidation and "
    "statistics") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    GraphCache<>& graphs = serving.graphs;
    Recording engine_graph;  // the engine's own capture
    std::vector<float> seen;
    for (int i = 0; i < 4; ++i) {
      const Step step = rank.agree(decode(3));
      const ShapeKey shape = graphs.select(step, serving.gather);
      serving.gather.begin_step(step, shape, HostStream{});
      std::fill_n(serving.input.data(), 6, static_cast<float>(i));
      if (!graphs.holds(shape)) {
        const Rows<float> all = serving.gather.gather(
            shape, Rows<const float>(serving.input.data(), shape.local_len, 2),
            HostStream(engine_graph));
        HostStream(engine_graph).submit("read", [all, &seen] {
          seen.assign(all.data(), all.data() + all.size());
        });
        graphs.note_capture(shape);
      }
      graphs.note_replay(step, shape);
      engine_graph.replay();
      expect(seen[0] == static_cast<float>(i) && seen[6] == 0.0f, "replay ", i);
    }
    expect(graphs.statistics().captures == 1 && graphs.statistics().replays == 4, "statistics");
    const Step step = rank.agree(decode(3));
    const ShapeKey shape = graphs.select(step, serving.gather);
    graphs.invalidate(rank.agreement);
    try {
      graphs.note_replay(step, shape);
      expect(false, "an invalidated graph was let through");
    } catch (const GraphError&) {
    }
    const Step large = rank.agree(decode(9));
    graphs.note_capture(shape);
    try {
      graphs.note_replay(large, shape);
      expect(false, "the guard let 9 rows into a graph of 4");
    } catch (const CapacityError&) {
    }
  });
}

namespace {

/// A key with a rank-local part that went through the agreement.
struct LoraKey {
  ShapeKey shape;
  int variant = 0;
  friend bool operator==(const LoraKey&, const LoraKey&) = default;
};

/// Keeps one graph: enough to see that a policy of one's own is asked.
struct KeepOne {
  static constexpr bool evicts = true;
  GraphBudget budget{.graphs = 1};
  void used(GraphUse&, std::uint64_t, std::uint64_t) const {}
  [[nodiscard]] bool goes_first(const GraphUse&, const GraphUse&, std::uint64_t) const {
    return false;
  }
  [[nodiscard]] std::uint64_t fingerprint() const { return 1; }
};

}  // namespace

template <>
struct std::hash<LoraKey> {
  std::size_t operator()(const LoraKey& key) const noexcept {
    return key.shape.hash() * 31 + static_cast<std::size_t>(key.variant);
  }
};

TEST_CASE("a key of one's own and an eviction policy of one's own") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    DpGather<MaxLen> gather(rank.comm, {.layout = rank.layout, .hidden = 1, .max_local_rows = 16});
    GraphCache<LoraKey, CaptureSizes, KeepOne> graphs(CaptureSizes::sglang(8));
    int bodies = 0;
    for (const int variant : {0, 0, 1, 1, 0}) {
      UserBytes user{};
      user[0] = std::byte(variant);
      rank.agreement.post(decode(2), user);
      const Step step = rank.agreement.wait();
      const LoraKey key{graphs.select(step, gather), static_cast<int>(step.user(0)[0])};
      gather.begin_step(step, key.shape, HostStream{});
      graphs.run(step, key, HostStream{}, rank.agreement,
                 [&](const LoraKey& k, HostStream) { bodies += 1 + 0 * k.variant; });
    }
    expect(bodies == 3 && graphs.size() == 1 && graphs.statistics().evictions == 2, "bodies ",
           bodies);
  });
}

TEST_CASE("keys that differ between ranks are a divergence when they are captured") {
  CHECK_THROWS_WITH_AS(
      test::on_ranks({.dp = 2},
                     [](test::Rank& rank) {
                       DpGather<MaxLen> gather(
                           rank.comm, {.layout = rank.layout, .hidden = 1, .max_local_rows = 16});
                       GraphCache<LoraKey> graphs(CaptureSizes::sglang(8));
                       const Step step = rank.agree(decode(2));
                       const LoraKey key{graphs.select(step, gather), rank.rank()};
                       gather.begin_step(step, key.shape, HostStream{});
                       graphs.run(step, key, HostStream{}, rank.agreement,
                                  [](const LoraKey&, HostStream) {});
                     }),
      doctest::Contains("captured different keys"), DivergenceError);
}

TEST_CASE("a graph that starts another is refused: one execution at a time") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    Serving serving(rank);
    const Step step = rank.agree(decode(2));
    const ShapeKey shape = serving.graphs.select(step, serving.gather);
    serving.gather.begin_step(step, shape, HostStream{});
    std::string text;
    const auto body = [&](const ShapeKey&, HostStream stream) {
      stream.submit("nested", [&] {
        try {
          serving.graphs.run(step, shape, HostStream{}, rank.agreement,
                             [](const ShapeKey&, HostStream) {});
        } catch (const InvalidArgument& error) {
          text = error.detail();
        }
      });
    };
    serving.graphs.run(step, shape, HostStream{}, rank.agreement, body);
    expect(text.find("one execution at a time") != std::string::npos, text);
  });
}

TEST_CASE("a steady-state step of graphs allocates nothing") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Serving serving(rank);
    const auto body = [&](const ShapeKey& key, HostStream stream) {
      const Rows<float> all = serving.gather.gather(
          key, Rows<const float>(serving.input.data(), key.local_len, 2), stream);
      serving.gather.slice_local(key, all, Rows<float>(serving.input.data(), key.local_len, 2),
                                 stream);
    };
    const auto one = [&](std::int64_t n) {
      const Step step = rank.agree(decode(n));
      const ShapeKey shape = serving.graphs.select(step, serving.gather);
      serving.gather.begin_step(step, shape, HostStream{});
      std::fill_n(serving.input.data(), 2 * n, static_cast<float>(rank.rank() + 1));
      for (std::int64_t i = 0; i < 2 * n; ++i)
        serving.input[static_cast<std::size_t>(i)] += static_cast<float>(i);
      serving.graphs.run(step, shape, HostStream{}, rank.agreement, body);
    };
    for (int i = 0; i < 4; ++i) one(3);
    (void)one;
    const auto before = support::allocations_of_this_thread();
    for (int i = 0; i < 20; ++i) one(3);
    const auto count = support::allocations_of_this_thread() - before;
    expect(count == 0, count, " allocations");
  });
}
