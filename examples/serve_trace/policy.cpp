#include "policy.hpp"

#include <algorithm>
#include <utility>

#include "moved_rows.hpp"
#include "with_mode.hpp"

namespace serve_trace {

using dpgather::Choice;
using dpgather::ChoiceReason;
using dpgather::EagerReason;
using dpgather::LenMode;
using dpgather::ShapeKey;
using dpgather::SizePair;
using dpgather::StepLoad;
using dpgather::Transport;

Policy policy_of(const Options& options) {
  const bool reach = offers_peers(options.comm);
  const dpgather::Allowed allowed{.peers = reach && options.hosts == 1,
                                  .host_peers = reach && options.hosts > 1};
  return with_mode<true>(options, [allowed](auto mode) -> Policy {
    return [=](const StepLoad& load, bool captured) {
      dpgather::Allowed here = allowed;
      here.captured = captured;
      return mode.choose(load, here);
    };
  });
}

Policy sglang_policy() {
  return [](const StepLoad& load, bool captured) -> Choice {
    if (captured || dpgather::VolumeRule::sglang_8280().choose(load) == LenMode::max_len)
      return {Transport::max_len, ChoiceReason::rule_max_len};
    return {Transport::sum_len_all_reduce, ChoiceReason::rule_sum_len};
  };
}

LenMode rule_of(const Options& options, const StepLoad& load) {
  if (options.mode == ModeChoice::auto_rule) return options.volume_rule().choose(load);
  return options.mode == ModeChoice::max_len ? LenMode::max_len : LenMode::sum_len;
}

std::int64_t max_local_rows(const Options& options) {
  const std::int64_t chunk = options.serve == Serve::mixed ? options.chunk : 0;
  return dpgather::round_up(
      std::max({chunk, options.max_running, capture_sizes(options).largest()}), options.attn_tp);
}

Planner::Planner(const dpgather::DpLayout& layout, int hosts, Policy policy, GraphSizes sizes)
    : layout_(layout), hosts_(hosts), policy_(std::move(policy)), sizes_(std::move(sizes)) {}

Launch Planner::launch(dpgather::Counts counts, dpgather::Forward forward) {
  const bool new_sizes = sizes_.next() != 0;
  sizes_.adopt();
  ShapeKey key;
  ChoiceReason why{};
  const EagerReason reason = graph_shape(counts, forward, key, why);
  Launch launch;
  if (reason == EagerReason::none) {
    make_static_plan(input(counts, forward), 0, key, plan_);
    launch = describe(key);
    launch.why = why;
  } else {
    launch = eager(counts, forward);
    launch.why_eager = reason;
  }
  launch.new_sizes = new_sizes;
  return launch;
}

Launch Planner::eager(dpgather::Counts counts, dpgather::Forward forward) {
  ChoiceReason why{};
  make_plan(
      input(counts, forward), 0, dpgather::ExactLen{},
      [&](const StepLoad& load) {
        const Choice choice = policy_(load, false);
        why = choice.reason;
        return *choice.transport;
      },
      plan_);
  Launch launch = describe({});
  launch.why = why;
  return launch;
}

bool Planner::lists(const ShapeKey& key) const {
  const auto pairs = sizes_.pairs();
  return std::any_of(pairs.begin(), pairs.end(), [&](const SizePair& pair) {
    return key_of(pair, key.transport, key.forward) == key;
  });
}

/// A token row is a request here, since only decode steps run in graphs.
EagerReason Planner::graph_shape(dpgather::Counts counts, dpgather::Forward forward, ShapeKey& key,
                                 ChoiceReason& why) {
  if (is_prefill(forward)) return EagerReason::prefill;
  std::optional<Transport> transport;
  make_plan(
      input(counts, forward), 0, dpgather::ExactLen{},
      [&](const StepLoad& load) {
        const Choice choice = policy_(load, true);
        transport = choice.transport;
        why = choice.reason;
        return Transport::sum_len_all_reduce;  // for its lens
      },
      plan_);
  if (plan_.valid_rows == 0) return EagerReason::no_rows;
  if (!transport) return EagerReason::mode_not_capturable;
  const SizePair needed{dpgather::max(counts), dpgather::sum(plan_.lens)};
  const bool by_sum = len_mode(*transport) == LenMode::sum_len;
  std::optional<SizePair> size;
  if (by_sum)
    size = sizes_.fit_pair(needed.local, needed.global);
  else if (const auto local = sizes_.fit(needed.local))
    size = SizePair{*local, *local * plan_.blocks()};
  if (size) key = key_of(*size, *transport, forward);
  static_cast<void>(sizes_.note(needed));  // for the next step
  return size ? EagerReason::none : EagerReason::too_large;
}

ShapeKey Planner::key_of(const SizePair& size, Transport transport,
                         dpgather::Forward forward) const {
  const std::int64_t local = dpgather::round_up(size.local, layout_.attn_tp);
  ShapeKey key{.local_len = local,
               .global_len = local * layout_.group_dp(),
               .transport = transport,
               .forward = forward,
               .width = 1,
               .is_static = true};
  if (len_mode(transport) == LenMode::sum_len)
    key.global_len = std::min(key.global_len, dpgather::round_up(size.global, layout_.attn_tp));
  return key;
}

/// Of the plan just made.
Launch Planner::describe(const std::optional<ShapeKey>& graph) const {
  const ShapeKey& shape = plan_.shape;
  const bool at_one_len = graph || len_mode(shape.transport) == LenMode::max_len;
  const MovedRows moved = moved_rows(plan_, hosts_);
  return {
      .transport = shape.transport,
      .attention_rows = at_one_len ? shape.local_len * plan_.blocks() : dpgather::sum(plan_.lens),
      .ffn_rows = shape.global_len,
      .moved_out = moved.out,
      .moved_back = moved.back,
      .graph = graph};
}

}  // namespace serve_trace
