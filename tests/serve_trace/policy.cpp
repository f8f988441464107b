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

Planner planner(ModeChoice mode, const DpLayout& layout, std::int64_t largest = 256) {
  Options options;
  options.mode = mode;
  return {layout, policy_of(options), CaptureSizes::sglang(largest, 1, layout.attn_tp)};
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
        Case{ModeChoice::sum_len, 2, 72, 36, 36}, Case{ModeChoice::sum_len_v, 2, 33, 36, 36}}) {
    const Launch launch =
        planner(c.mode, {.dp = 4, .attn_tp = c.attn_tp}).launch(counts, Forward::mixed);
    CHECK_FALSE(launch.graph.has_value());
    CHECK(launch.why_eager == EagerReason::prefill);
    CHECK(launch.moved_out == c.moved);
    CHECK(launch.moved_back == c.moved);
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
  CHECK(launch.moved_out == 96);
  CHECK(launch.attention_rows == 96);
  launch = planner(ModeChoice::sum_len, layout).launch(counts, Forward::decode);
  REQUIRE(launch.graph.has_value());
  CHECK(launch.graph->local_len == 24);
  CHECK(launch.graph->global_len == 40);  // 33 rows exist
  CHECK(launch.moved_out == 80);
  CHECK(launch.ffn_rows == 40);
  CHECK(launch.attention_rows == 96);
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

TEST_CASE("the automatic mode goes by the rule, and moves only rows that exist when eager") {
  const DpLayout layout{.dp = 4};
  Planner own = planner(ModeChoice::auto_rule, layout);
  const Vector even = {8, 8, 8, 8}, tie = {4, 4, 0, 0}, skewed = {512, 1, 1, 1};
  CHECK(own.mode(even, Forward::mixed) == LenMode::max_len);
  CHECK(own.mode(tie, Forward::mixed) == LenMode::sum_len);
  CHECK(own.launch(tie, Forward::mixed).transport == Transport::sum_len_all_gather_v);
  CHECK(own.launch(skewed, Forward::mixed).moved_out == 515);
  CHECK(own.launch(tie, Forward::decode).transport == Transport::sum_len_all_reduce);
  Options options;
  options.rule = RuleChoice::volume_tie_max;
  Planner tie_max(layout, policy_of(options), CaptureSizes::sglang(256));
  CHECK(tie_max.mode(tie, Forward::mixed) == LenMode::max_len);
}

TEST_CASE("SGLang's graphs are MAX_LEN whatever the rule would say") {
  Planner sglang({.dp = 4}, sglang_policy(), CaptureSizes::sglang(256));
  const Vector skewed = {20, 1, 1, 1};
  CHECK(sglang.launch(skewed, Forward::decode).moved_out == 96);
  CHECK(sglang.launch(skewed, Forward::extend).moved_out == 46);
  CHECK(sglang.eager(skewed, Forward::decode).moved_out == 46);
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
  const Figures& figures = accounting.figures();
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
