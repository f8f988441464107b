// Who decides how a step is launched, written with the library's planning layer alone: this
// program's --mode, and SGLang for comparison.
#pragma once

#include <cstdint>
#include <optional>

#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/plan/plan.hpp>
#include <dpgather/plan/rule.hpp>

#include "options.hpp"

namespace serve_trace {

/// Transports by what the rule says; `captured_*` for steps that a graph may run, none where that
/// choice cannot be captured.
struct Policy {
  std::optional<dpgather::VolumeRule> rule;  ///< none: always `fixed`
  dpgather::LenMode fixed = dpgather::LenMode::max_len;
  dpgather::Transport eager_sum = dpgather::Transport::sum_len_all_gather_v;
  std::optional<dpgather::Transport> captured_sum = dpgather::Transport::sum_len_all_reduce;

  [[nodiscard]] dpgather::LenMode choose(const dpgather::StepLoad& load) const {
    return rule ? rule->choose(load) : fixed;
  }
  [[nodiscard]] dpgather::Transport eager(const dpgather::StepLoad& load) const {
    return choose(load) == dpgather::LenMode::max_len ? dpgather::Transport::max_len : eager_sum;
  }
  [[nodiscard]] std::optional<dpgather::Transport> captured(const dpgather::StepLoad& load) const {
    if (choose(load) == dpgather::LenMode::max_len) return dpgather::Transport::max_len;
    return captured_sum;
  }
};

[[nodiscard]] Policy policy_of(const Options& options);
/// #8280: the volume rule where a step is eager, MAX_LEN without asking where a graph runs.
[[nodiscard]] Policy sglang_policy();

/// Sizes that decode steps are captured at: the defaults up to --max-running, and at least one.
[[nodiscard]] dpgather::CaptureSizes capture_sizes(const Options& options);

/// Most rows that a DP rank can have in a step, or that a graph is launched with; a multiple of A.
[[nodiscard]] std::int64_t max_local_rows(const Options& options);

/// A step as it was, or would be, launched over all DP ranks.
struct Launch {
  dpgather::Transport transport = dpgather::Transport::max_len;
  std::int64_t attention_rows = 0;  ///< local lens of all DP ranks
  std::int64_t ffn_rows = 0;        ///< global len
  std::int64_t moved_out = 0;       ///< rows that each rank receives on the way out
  std::int64_t moved_back = 0;
  std::optional<dpgather::ShapeKey> graph;  ///< none: eager
  dpgather::EagerReason why_eager = dpgather::EagerReason::none;
};

/// Shapes of one step as pure functions of its counts.
class Planner {
 public:
  Planner(const dpgather::DpLayout& layout, const Policy& policy, dpgather::CaptureSizes sizes);

  /// What the rule says of the exact counts.
  [[nodiscard]] dpgather::LenMode mode(dpgather::Counts counts, dpgather::Forward forward);
  /// Through a captured graph if one fits a decode-only step.
  [[nodiscard]] Launch launch(dpgather::Counts counts, dpgather::Forward forward);
  /// The same step run without graphs.
  [[nodiscard]] Launch eager(dpgather::Counts counts, dpgather::Forward forward);

 private:
  template <class Choose>
  void plan_exact(dpgather::Counts counts, dpgather::Forward forward, const Choose& choose);
  /// None: the step runs at `key`.
  [[nodiscard]] dpgather::EagerReason graph_shape(dpgather::Counts counts,
                                                  dpgather::Forward forward,
                                                  dpgather::ShapeKey& key);
  [[nodiscard]] dpgather::PlanInput input(dpgather::Counts counts,
                                          dpgather::Forward forward) const {
    return {.layout = layout_, .counts = counts, .forward = forward, .width = 1};
  }
  [[nodiscard]] Launch describe(const std::optional<dpgather::ShapeKey>& graph) const;

  dpgather::DpLayout layout_;
  Policy policy_;
  dpgather::CaptureSizes sizes_;
  dpgather::Plan plan_;
};

}  // namespace serve_trace
