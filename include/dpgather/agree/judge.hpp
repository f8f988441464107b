// Pure functions from all ranks' records to the agreed step, or to the error that every rank
// throws.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <dpgather/agree/alignment.hpp>
#include <dpgather/agree/record.hpp>
#include <dpgather/agree/step.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/layout.hpp>

namespace dpgather {

namespace detail {

/// Why a rank's own phases cannot be; checked before posting.
[[nodiscard]] inline std::optional<std::string> problem_with(std::span<const Phase> phases) {
  if (phases.empty() || phases.size() > max_phases)
    return concat(phases.size(), " phases posted, must be 1 to ", max_phases);
  for (const Phase& phase : phases) {
    for (const auto& [what, count] : {std::pair{"tokens", phase.tokens},
                                      {"requests", phase.requests},
                                      {"logits", phase.logits}})
      if (count < 0 || count > max_rows)
        return concat(what, " is ", count, ", must be 0 to ", max_rows);
    if (static_cast<int>(phase.forward) >= forward_count)
      return concat("forward mode is ", static_cast<int>(phase.forward), ", must be 0 to ",
                    forward_count - 1);
    if (phase.width < 1) return concat("width is ", phase.width, ", must be at least 1");
    if (phase.forward == Forward::idle) {
      if (phase.tokens + phase.requests + phase.logits > 0)
        return concat("an idle rank posts ", phase.tokens, " tokens, ", phase.requests,
                      " requests, ", phase.logits, " logits, must be 0");
    } else if (has_fixed_width(phase.forward)) {
      // Draft extend has up to `width` rows a request: those that were accepted.
      const std::int64_t slots = phase.requests * phase.width;
      const bool ragged = phase.forward == Forward::draft_extend && phase.tokens <= slots;
      if (phase.tokens != slots && !ragged)
        return concat(name(phase.forward), " has ", phase.tokens, " tokens, must be requests ",
                      phase.requests, " * width ", phase.width);
    }
  }
  return std::nullopt;
}

inline void reserve(AgreedStep& step, const DpLayout& layout) {
  const auto dp = static_cast<std::size_t>(layout.dp);
  for (auto& phase : step.phase)
    for (auto* counts : {&phase.tokens, &phase.requests, &phase.logits}) counts->resize(dp);
  step.user.resize(static_cast<std::size_t>(layout.world()));
  step.layout = layout;
}

/// Merges phase `p` where there is one rank a DP rank and all that are not idle are in one mode with
/// one width, in one pass without a branch a rank. Otherwise false, and `step` is to be filled again.
[[nodiscard]] inline bool merged_alike(std::span<const StepRecord> records, std::size_t p,
                                       AgreedStep& step) {
  if (step.layout.attn_tp != 1) return false;
  const auto busy = std::find_if(records.begin(), records.end(), [p](const StepRecord& record) {
    return record.phase[p].forward != Forward::idle;
  });
  const Phase head = busy == records.end() ? Phase{} : busy->phase[p];
  const bool any_width = !has_fixed_width(head.forward);
  auto& agreed = step.phase[p];
  std::int64_t* const tokens = agreed.tokens.data();
  std::int64_t* const requests = agreed.requests.data();
  std::int64_t* const logits = agreed.logits.data();
  bool alike = true, can_graph = true;
  for (std::size_t rank = 0; rank < records.size(); ++rank) {
    const Phase& phase = records[rank].phase[p];
    tokens[rank] = phase.tokens;
    requests[rank] = phase.requests;
    logits[rank] = phase.logits;
    can_graph &= phase.can_graph;
    const bool same = (phase.forward == head.forward) & (any_width | (phase.width == head.width));
    alike &= same | (phase.forward == Forward::idle);
  }
  if (!alike) return false;
  agreed.forward = head.forward;
  agreed.width = head.forward == Forward::idle || any_width ? 1 : head.width;
  agreed.can_graph = can_graph && !is_prefill(head.forward);
  return true;
}

/// Merges phase `p` of all ranks.
inline void judge_phase(std::span<const StepRecord> records, int p, const ErrorContext& where,
                        AgreedStep& step) {
  const auto own = static_cast<std::size_t>(where.rank);
  step.own_forward[static_cast<std::size_t>(p)] =
      records[own].phase[static_cast<std::size_t>(p)].forward;
  if (merged_alike(records, static_cast<std::size_t>(p), step)) return;
  auto& agreed = step.phase[static_cast<std::size_t>(p)];
  const auto phase_of = [&](int rank) -> const Phase& {
    return records[static_cast<std::size_t>(rank)].phase[static_cast<std::size_t>(p)];
  };
  agreed.forward = Forward::idle;
  agreed.width = 1;
  agreed.can_graph = true;
  int width_of = -1;
  for (int rank = 0; rank < step.layout.world(); ++rank) {
    const Phase& phase = phase_of(rank);
    const int leader = rank - step.layout.tp_rank(rank);
    const Phase& lead = phase_of(leader);
    require<DivergenceError>(phase.tokens == lead.tokens && phase.requests == lead.requests &&
                                 phase.logits == lead.logits && phase.forward == lead.forward,
                             where, "attention-TP ranks ", leader, " and ", rank,
                             " of one DP rank disagree: ", lead.tokens, " tokens, ", lead.requests,
                             " requests, ", name(lead.forward), " against ", phase.tokens,
                             " tokens, ", phase.requests, " requests, ", name(phase.forward));
    const auto dp = static_cast<std::size_t>(step.layout.dp_rank(rank));
    agreed.tokens[dp] = phase.tokens;
    agreed.requests[dp] = phase.requests;
    agreed.logits[dp] = phase.logits;
    require<DivergenceError>(compatible(agreed.forward, phase.forward), where,
                             "forward modes cannot share a step: ", name(agreed.forward),
                             " before rank ", rank, ", which is in ", name(phase.forward));
    agreed.forward = combine(agreed.forward, phase.forward);
    agreed.can_graph &= phase.can_graph && !is_prefill(phase.forward);
    if (phase.forward == Forward::idle || is_prefill(phase.forward)) continue;
    require<DivergenceError>(width_of < 0 || phase.width == agreed.width, where,
                             "width differs: rank ", width_of, " has ", agreed.width, ", rank ",
                             rank, " has ", phase.width);
    width_of = rank;
    agreed.width = phase.width;
  }
  if (is_prefill(agreed.forward)) agreed.width = 1;
}

/// Fills `step` from the records, or throws what every rank throws.
inline void judge(std::span<const StepRecord> records, const DpLayout& layout, int rank,
                  std::int64_t index, AgreedStep& step) {
  const ErrorContext where{.rank = rank, .step = index, .operation = "agreement"};
  ++step.generation;
  step.layout = layout;
  step.rank = rank;
  step.index = index;
  if (!surely_aligned(records)) {
    check_alignment(records, where);
    if (const auto failure = first_failure(records)) throw PeerError(where, *failure);
  }
  step.phases = records[0].phases;
  for (int p = 0; p < step.phases; ++p) judge_phase(records, p, where, step);
  for (std::size_t r = 0; r < records.size(); ++r) step.user[r] = records[r].user;
}

}  // namespace detail
}  // namespace dpgather
