#include "policy.hpp"

#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "figures.hpp"

using namespace serve_trace;
using dpgather::CaptureSizes;
using dpgather::DpLayout;
using dpgather::EagerReason;
using dpgather::Forward;
using dpgather::LenMode;
using dpgather::Transport;
using Vector = std::vector<std::int64_t>;

namespace {

Planner planner(const Options& options, const DpLayout& layout, std::int64_t largest = 256) {
  return {layout, options.hosts, policy_of(options),
          GraphSizes(CaptureSizes::sglang(largest, 1, layout.attn_tp))};
}
Planner planner(ModeChoice mode, const DpLayout& layout, std::int64_t largest = 256) {
  Options options;
  options.mode = mode;
  return planner(options, layout, largest);
}

/// What `rule_of` says of counts.
LenMode rule(const Vector& counts, RuleChoice choice = RuleChoice::volume) {
  Options options;
  options.rule = choice;
  return rule_of(options, {counts});
}

}  // namespace

TEST_CASE("an eager step moves what its mode says, of aligned counts") {
  const Vector counts = {17, 5, 2, 9};  // aligned to 2: 18, 6, 2, 10
  struct Case {
    ModeChoice mode;
    int attn_tp;
    std::int64_t moved, ffn, attention;
  };
  for (const Case& c :
       {Case{ModeChoice::max_len, 1, 68, 68, 68}, Case{ModeChoice::sum_len, 1, 66, 33, 33},
        Case{ModeChoice::sum_len_v, 1, 33, 33, 33}, Case{ModeChoice::max_len, 2, 72, 72, 72},
        Case{ModeChoice::sum_len, 2, 72, 36, 36}, Case{ModeChoice::sum_len_v, 2, 33, 36, 36},
        Case{ModeChoice::sum_len_peer, 1, 33, 33, 33},
        Case{ModeChoice::sum_len_peer, 2, 33, 36, 36}}) {
    const Launch launch =
        planner(c.mode, {.dp = 4, .attn_tp = c.attn_tp}).launch(counts, Forward::mixed);
    CHECK_FALSE(launch.graph.has_value());
    CHECK(launch.why_eager == EagerReason::prefill);
    CHECK(launch.moved_out == c.moved * 4 * c.attn_tp);
    CHECK(launch.moved_back == c.moved * 4 * c.attn_tp);
    CHECK(launch.ffn_rows == c.ffn);
    CHECK(launch.attention_rows == c.attention);
  }
}

TEST_CASE("a decode step runs at the smallest sizes that fit, on both axes") {
  const Vector counts = {17, 5, 2, 9};
  const DpLayout layout{.dp = 4};
  Launch launch = planner(ModeChoice::max_len, layout).launch(counts, Forward::decode);
  REQUIRE(launch.graph.has_value());
  CHECK(launch.graph->local_len == 24);
  CHECK(launch.graph->global_len == 96);
  CHECK(launch.moved_out == 96 * 4);
  CHECK(launch.attention_rows == 96);
  launch = planner(ModeChoice::sum_len, layout).launch(counts, Forward::decode);
  REQUIRE(launch.graph.has_value());
  CHECK(launch.graph->local_len == 24);
  CHECK(launch.graph->global_len == 40);  // 33 rows exist
  CHECK(launch.moved_out == 80 * 4);
  CHECK(launch.ffn_rows == 40);
  CHECK(launch.attention_rows == 96);
  launch = planner(ModeChoice::sum_len_peer, layout).launch(counts, Forward::decode);
  REQUIRE(launch.graph.has_value());
  CHECK(launch.graph->global_len == 40);
  CHECK(launch.moved_out == 33 * 4);  // pads are computed and do not travel
  CHECK(launch.moved_back == 33 * 4);
}

TEST_CASE("by hosts, leaders exchange the room of a host, and the others take what exists") {
  Options options;
  options.mode = ModeChoice::sum_len_hier;
  options.hosts = 2;
  const Vector counts = {17, 5, 2, 9};  // hosts have 22 and 11
  Launch launch = planner(options, {.dp = 4}).launch(counts, Forward::decode);
  REQUIRE(launch.graph.has_value());
  CHECK(launch.transport == Transport::sum_len_hierarchical);
  // (24, 40): a host has room for 40, of 2 * 24 rows and of all.
  CHECK(launch.moved_out == 2 * (2 * 40) + 2 * 33);
  // Members add 33 rows of 2 ranks on 2 hosts, leaders take 2 hosts' room, the others their own.
  CHECK(launch.moved_back == 4 * 33 + 2 * (2 * 40) + 5 + 9);
  launch = planner(options, {.dp = 4}).eager(counts, Forward::decode);
  CHECK(launch.moved_out == 4 * 33);
  CHECK(launch.moved_back == 4 * 33 + 2 * 33 + 5 + 9);
}

TEST_CASE("steps that no graph fits say why") {
  const DpLayout layout{.dp = 2};
  const auto reason = [&](ModeChoice mode, const Vector& counts, Forward forward) {
    return planner(mode, layout, 8).launch(counts, forward).why_eager;
  };
  CHECK(reason(ModeChoice::max_len, {9, 1}, Forward::decode) == EagerReason::too_large);
  CHECK(reason(ModeChoice::max_len, {8, 1}, Forward::decode) == EagerReason::none);
  CHECK(reason(ModeChoice::max_len, {0, 0}, Forward::idle) == EagerReason::no_rows);
  CHECK(reason(ModeChoice::max_len, {1, 1}, Forward::extend) == EagerReason::prefill);
  CHECK(reason(ModeChoice::sum_len_v, {1, 1}, Forward::decode) == EagerReason::mode_not_capturable);
  CHECK(reason(ModeChoice::auto_rule, {8, 0}, Forward::decode) == EagerReason::none);
}

TEST_CASE("the automatic mode goes by the rule where memory is out of reach") {
  const DpLayout layout{.dp = 4};
  const Vector even = {8, 8, 8, 8}, tie = {4, 4, 0, 0}, skewed = {512, 1, 1, 1};
  CHECK(rule(even) == LenMode::max_len);
  CHECK(rule(tie) == LenMode::sum_len);
  CHECK(rule(tie, RuleChoice::volume_tie_max) == LenMode::max_len);
  Options mpi, kept;
  mpi.comm = CommChoice::mpi;
  kept.peers = false;
  for (const Options& options : {mpi, kept}) {
    Planner own = planner(options, layout);
    CHECK(own.launch(even, Forward::mixed).transport == Transport::max_len);
    CHECK(own.launch(tie, Forward::mixed).transport == Transport::sum_len_all_gather_v);
    CHECK(own.launch(skewed, Forward::mixed).moved_out == 515 * 4);
    const Launch captured = own.launch(tie, Forward::decode);
    CHECK(captured.transport == Transport::sum_len_all_reduce);
    CHECK(captured.why == dpgather::ChoiceReason::captured_needs_graph_safe);
  }
}

TEST_CASE("the automatic mode stores into memory in reach, and goes by hosts in graphs") {
  const DpLayout layout{.dp = 4};
  const Vector even = {8, 8, 8, 8}, skewed = {20, 1, 1, 1};
  Options options;
  Planner one = planner(options, layout);
  for (const Forward forward : {Forward::mixed, Forward::decode}) {
    CHECK(one.launch(skewed, forward).transport == Transport::sum_len_peer_store);
    CHECK(one.launch(skewed, forward).moved_out == 23 * 4);
  }
  options.hosts = 4;
  Planner four = planner(options, layout);
  CHECK(four.launch(even, Forward::decode).transport == Transport::sum_len_hierarchical);
  CHECK(four.launch(even, Forward::mixed).transport == Transport::max_len);
  CHECK(four.launch(skewed, Forward::mixed).transport == Transport::sum_len_all_gather_v);
}

TEST_CASE("SGLang's graphs are MAX_LEN whatever the rule would say") {
  Planner sglang({.dp = 4}, 1, sglang_policy(), GraphSizes(CaptureSizes::sglang(256)));
  const Vector skewed = {20, 1, 1, 1};
  CHECK(sglang.launch(skewed, Forward::decode).moved_out == 96 * 4);
  CHECK(sglang.launch(skewed, Forward::extend).moved_out == 46 * 4);
  CHECK(sglang.eager(skewed, Forward::decode).moved_out == 46 * 4);
}

TEST_CASE("the latest used graphs are held, up to --graphs") {
  Options options;
  options.ranks = 1;
  options.graphs = 2;
  options.mode = ModeChoice::max_len;
  Accounting accounting(options);
  for (const std::int64_t n : {1, 2, 1, 4, 1, 2}) {
    const Vector counts = {n};
    accounting.add({.counts = counts, .forward = Forward::decode, .live = true});
  }
  const Figures figures = accounting.figures();
  CHECK(figures.graphs.captures == 4);  // 2 goes for 4, and 4 for 2
  CHECK(figures.graphs.dropped == 2);
  CHECK(figures.graphs.keys == 2);
  CHECK(figures.graphs.most_keys == 2);
  CHECK(figures.choices.at("fixed_mode") == 6);
}

TEST_CASE(
    "shapes that follow the traffic compute fewer pads, and drop graphs that are not listed") {
  Options options;
  options.ranks = 4;
  options.retune = true;
  Accounting follows(options);
  Options fixed = options;
  fixed.retune = false;
  fixed.mode = ModeChoice::max_len;
  Accounting stays(fixed);
  for (int step = 0; step < 600; ++step) {
    const std::int64_t n = 20 + step / 10;
    const Vector counts = {n, n + step % 3, n - step % 5, n};
    for (Accounting* accounting : {&follows, &stays})
      accounting->add({.counts = counts, .forward = Forward::decode, .live = true});
  }
  const Figures figures = follows.figures();
  CHECK(figures.graphs.retunings > 2);
  CHECK(figures.graphs.dropped > 0);
  CHECK(figures.graphs.most_keys <= 36);
  CHECK(figures.graphs.captures == figures.graphs.keys + figures.graphs.dropped);
  CHECK(figures.launched.computed < stays.figures().launched.computed);
}

TEST_CASE("there is a capture size however few requests run") {
  Options options;
  options.max_running = 1;
  for (const int attn_tp : {1, 2, 3, 5, 7, 16, 37}) {
    options.attn_tp = attn_tp;
    const CaptureSizes sizes = capture_sizes(options);
    CHECK(sizes.values().size() == 1);
    CHECK(sizes.largest() % attn_tp == 0);
  }
  options.attn_tp = 1;
  options.max_running = 100;
  CHECK(capture_sizes(options).largest() == 96);
}

TEST_CASE("figures count live decode-only steps apart, and idle steps too") {
  Options options;
  options.ranks = 2;
  options.mode = ModeChoice::max_len;
  Accounting accounting(options);
  const Vector some = {3, 1}, none = {0, 0};
  accounting.add({.counts = some, .forward = Forward::decode, .admitted = 4, .live = true});
  accounting.add({.counts = some, .forward = Forward::decode, .admitted = 5, .live = false});
  accounting.add({.counts = none, .forward = Forward::idle, .admitted = 5, .live = true});
  accounting.add(
      {.counts = some, .forward = Forward::mixed, .prefill_rows = 2, .admitted = 6, .live = true});
  const Figures figures = accounting.figures();
  CHECK(figures.steps == 4);
  CHECK(figures.requests == 6);
  CHECK(figures.live_steps == 3);
  CHECK(figures.idle_steps == 1);
  CHECK(figures.decode_only_steps == 3);
  CHECK(figures.rows == 12);
  CHECK(figures.prefill_rows == 2);
  CHECK(figures.decode_rows == 4);
  CHECK(figures.max_len_steps == 4);
  CHECK(figures.launched.decode_computed == 8);
  CHECK(figures.launched.computed == 8 + 8 + 0 + 6);
  CHECK(figures.launched.moved_out == 22);
  CHECK(figures.unpadded.moved_out == 18);
  CHECK(figures.graphs.keys == 1);
  CHECK(figures.graphs.captures == 1);
  CHECK(figures.graphs.replays == 2);
  CHECK(figures.graphs.eager_steps == 2);
  CHECK(figures.graphs.eager_reasons.at("prefill") == 1);
  CHECK(figures.graphs.eager_reasons.at("no_rows") == 1);
}
