#include "policy.hpp"

#include <algorithm>
#include <utility>

namespace serve_trace {

using dpgather::CaptureSizes;
using dpgather::EagerReason;
using dpgather::LenMode;
using dpgather::ShapeKey;
using dpgather::StepLoad;
using dpgather::Transport;

Policy policy_of(const Options& options) {
  switch (options.mode) {
    case ModeChoice::max_len:
      return {.rule = {}, .fixed = LenMode::max_len};
    case ModeChoice::sum_len:
      return {.rule = {}, .fixed = LenMode::sum_len, .eager_sum = Transport::sum_len_all_reduce};
    case ModeChoice::sum_len_v:
      return {.rule = {}, .fixed = LenMode::sum_len, .captured_sum = {}};
    case ModeChoice::auto_rule:
      break;
  }
  return {.rule = options.volume_rule()};
}

Policy sglang_policy() {
  return {.rule = dpgather::VolumeRule::sglang_8280(),
          .eager_sum = Transport::sum_len_all_reduce,
          .captured_sum = Transport::max_len};
}

CaptureSizes capture_sizes(const Options& options) {
  const int attn_tp = options.attn_tp;
  const std::int64_t smallest =
      CaptureSizes::sglang(512 + 32 * attn_tp, 1, attn_tp).values().front();
  return CaptureSizes::sglang(std::max(options.max_running, smallest), 1, attn_tp);
}

std::int64_t max_local_rows(const Options& options) {
  const std::int64_t chunk = options.serve == Serve::mixed ? options.chunk : 0;
  return dpgather::round_up(
      std::max({chunk, options.max_running, capture_sizes(options).largest()}), options.attn_tp);
}

Planner::Planner(const dpgather::DpLayout& layout, const Policy& policy, CaptureSizes sizes)
    : layout_(layout), policy_(policy), sizes_(std::move(sizes)) {}

LenMode Planner::mode(dpgather::Counts counts, dpgather::Forward forward) {
  plan_exact(counts, forward, [this](const StepLoad& load) { return policy_.eager(load); });
  return len_mode(plan_.shape.transport);
}

Launch Planner::launch(dpgather::Counts counts, dpgather::Forward forward) {
  ShapeKey key;
  const EagerReason reason = graph_shape(counts, forward, key);
  if (reason != EagerReason::none) {
    Launch launch = eager(counts, forward);
    launch.why_eager = reason;
    return launch;
  }
  make_static_plan(input(counts, forward), 0, key, plan_);
  return describe(key);
}

Launch Planner::eager(dpgather::Counts counts, dpgather::Forward forward) {
  plan_exact(counts, forward, [this](const StepLoad& load) { return policy_.eager(load); });
  return describe({});
}

template <class Choose>
void Planner::plan_exact(dpgather::Counts counts, dpgather::Forward forward, const Choose& choose) {
  make_plan(input(counts, forward), 0, dpgather::ExactLen{}, choose, plan_);
}

/// A token row is a request here, since only decode steps run in graphs.
EagerReason Planner::graph_shape(dpgather::Counts counts, dpgather::Forward forward,
                                 ShapeKey& key) {
  if (is_prefill(forward)) return EagerReason::prefill;
  std::optional<Transport> transport;
  plan_exact(counts, forward, [&](const StepLoad& load) {
    transport = policy_.captured(load);
    return policy_.eager(load);
  });
  if (plan_.valid_rows == 0) return EagerReason::no_rows;
  if (!transport) return EagerReason::mode_not_capturable;
  const auto pair = sizes_.fit_pair(dpgather::max(plan_.lens), dpgather::sum(plan_.lens));
  if (!pair) return EagerReason::too_large;
  key = {.local_len = pair->local,
         .global_len = pair->local * plan_.blocks(),
         .transport = *transport,
         .forward = forward,
         .width = 1,
         .is_static = true};
  if (len_mode(*transport) == LenMode::sum_len)
    key.global_len = std::min(key.global_len, pair->global);
  return EagerReason::none;
}

/// Of the plan just made. Back counts as out: a reduction reads what a gather writes, and an
/// all-reduce does both.
Launch Planner::describe(const std::optional<ShapeKey>& graph) const {
  const ShapeKey& shape = plan_.shape;
  const bool at_one_len = graph || len_mode(shape.transport) == LenMode::max_len;
  std::int64_t moved = shape.global_len;
  if (shape.transport == Transport::sum_len_all_reduce) moved = 2 * shape.global_len;
  if (shape.transport == Transport::sum_len_all_gather_v) moved = plan_.valid_rows;
  return {
      .transport = shape.transport,
      .attention_rows = at_one_len ? shape.local_len * plan_.blocks() : dpgather::sum(plan_.lens),
      .ffn_rows = shape.global_len,
      .moved_out = moved,
      .moved_back = moved,
      .graph = graph};
}

}  // namespace serve_trace
