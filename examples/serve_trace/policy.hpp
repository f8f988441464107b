// How a step is launched, written with the library's planning layer and its modes alone: this
// program's --mode, and SGLang for comparison.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <dpgather/exchange/choice.hpp>
#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/plan.hpp>

#include "graph_sizes.hpp"
#include "options.hpp"

namespace serve_trace {

/// The transport of a step, eager or in a graph.
using Policy = std::function<dpgather::Choice(const dpgather::StepLoad&, bool captured)>;

/// That of --mode, with the memory in reach that --comm and --hosts say.
[[nodiscard]] Policy policy_of(const Options& options);
/// #8280: the volume rule where a step is eager, MAX_LEN without asking where a graph runs.
[[nodiscard]] Policy sglang_policy();
/// What the mode, or its rule, says of exact counts.
[[nodiscard]] dpgather::LenMode rule_of(const Options& options, const dpgather::StepLoad& load);

/// Most rows that a DP rank can have in a step, or that a graph is launched with; a multiple of A.
[[nodiscard]] std::int64_t max_local_rows(const Options& options);

/// A step as it was, or would be, launched over all DP ranks.
struct Launch {
  dpgather::Transport transport = dpgather::Transport::max_len;
  dpgather::ChoiceReason why = dpgather::ChoiceReason::given;
  std::int64_t attention_rows = 0;  ///< local lens of all DP ranks
  std::int64_t ffn_rows = 0;        ///< global len
  std::int64_t moved_out = 0;       ///< rows that ranks receive on the way out, summed over ranks
  std::int64_t moved_back = 0;
  std::optional<dpgather::ShapeKey> graph;  ///< none: eager
  dpgather::EagerReason why_eager = dpgather::EagerReason::none;
  bool new_sizes = false;  ///< sizes became others before this step
};

/// Shapes of the steps, in their order, from their counts.
class Planner {
 public:
  Planner(const dpgather::DpLayout& layout, int hosts, Policy policy, GraphSizes sizes);

  /// Through a captured graph if one fits a decode-only step.
  [[nodiscard]] Launch launch(dpgather::Counts counts, dpgather::Forward forward);
  /// The same step run without graphs.
  [[nodiscard]] Launch eager(dpgather::Counts counts, dpgather::Forward forward);
  /// Steps can still take this captured shape.
  [[nodiscard]] bool lists(const dpgather::ShapeKey& key) const;

 private:
  /// None: the step runs at `key`.
  [[nodiscard]] dpgather::EagerReason graph_shape(dpgather::Counts counts,
                                                  dpgather::Forward forward,
                                                  dpgather::ShapeKey& key,
                                                  dpgather::ChoiceReason& why);
  [[nodiscard]] dpgather::ShapeKey key_of(const dpgather::SizePair& size,
                                          dpgather::Transport transport,
                                          dpgather::Forward forward) const;
  [[nodiscard]] dpgather::PlanInput input(dpgather::Counts counts,
                                          dpgather::Forward forward) const {
    return {.layout = layout_, .counts = counts, .forward = forward, .width = 1};
  }
  [[nodiscard]] Launch describe(const std::optional<dpgather::ShapeKey>& graph) const;

  dpgather::DpLayout layout_;
  int hosts_;
  Policy policy_;
  GraphSizes sizes_;
  dpgather::Plan plan_;
};

}  // namespace serve_trace
