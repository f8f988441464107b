// The plan of one step: which rows go where, as a pure function of the agreed counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/layout.hpp>
#include <dpgather/plan/rounding.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// Which rows of a step are gathered: token rows, or the rows that go to the language-model head.
enum class RowAxis : std::uint8_t { tokens, logits };

/// Agreed facts that a plan is made from; equal on every rank of an FFN group.
struct PlanInput {
  DpLayout layout = {};
  Counts counts = {};  ///< rows of all `layout.dp` DP ranks
  Forward forward = Forward::decode;
  std::int32_t width = 1;  ///< rows per request

  /// Every rank's len is a multiple of this: of A, so that attention TP can slice it, and of the
  /// width, so that it is a whole number of requests. A width that A does not divide is thus no
  /// special case.
  [[nodiscard]] constexpr std::int64_t alignment() const {
    return is_prefill(forward) ? layout.attn_tp : std::lcm<std::int64_t>(layout.attn_tp, width);
  }
};

/// Blocks of the global buffer, one per DP rank of the FFN group: rows `[offsets[d], offsets[d] +
/// lens[d])`, of which the first `valid[d]` exist; the rest, and the tail up to `global_len`, are
/// pads. Vectors keep their capacity, so that re-making a plan allocates nothing.
struct Plan {
  ShapeKey shape;
  DpLayout layout;
  int rank = 0;   ///< in the world
  int block = 0;  ///< DP rank within the FFN group
  std::vector<std::int64_t> valid;
  std::vector<std::int64_t> lens;
  std::vector<std::int64_t> offsets;
  std::int64_t valid_rows = 0;  ///< sum of `valid`

  [[nodiscard]] std::int64_t own_valid() const { return valid[static_cast<std::size_t>(block)]; }
  [[nodiscard]] std::int64_t own_offset() const { return offsets[static_cast<std::size_t>(block)]; }
  [[nodiscard]] std::int64_t own_len() const { return lens[static_cast<std::size_t>(block)]; }
  [[nodiscard]] std::int64_t blocks() const { return static_cast<std::int64_t>(valid.size()); }
};

namespace detail {

/// Fills the group's valid counts and their aligned lens.
inline void load_group(const PlanInput& input, int rank, Plan& plan) {
  input.layout.check_rank(rank);
  const ErrorContext where{.rank = rank, .operation = "plan"};
  require(input.counts.size() == static_cast<std::size_t>(input.layout.dp), where,
          input.counts.size(), " counts given for dp ", input.layout.dp);
  require(input.width >= 1 && input.width <= max_rows, where, "width is ", input.width,
          ", must be at least 1");
  check_counts(input.counts, where);
  const auto first = static_cast<std::size_t>(input.layout.group_first_dp(rank));
  const auto group = input.counts.subspan(first, static_cast<std::size_t>(input.layout.group_dp()));
  plan.layout = input.layout;
  plan.rank = rank;
  plan.block = input.layout.dp_rank(rank) - static_cast<int>(first);
  plan.valid.assign(group.begin(), group.end());
  plan.valid_rows = sum(plan.valid);
  plan.lens.resize(group.size());
  plan.offsets.resize(group.size());
  round_up_each(group, input.alignment(), plan.lens);
}

inline void place_blocks(Plan& plan) {
  if (len_mode(plan.shape.transport) == LenMode::max_len)
    std::fill(plan.lens.begin(), plan.lens.end(), plan.shape.local_len);
  exclusive_offsets(plan.lens, plan.offsets);
}

}  // namespace detail

/// Eager plan: exact lens. MAX_LEN pads every rank to the rounded maximum; SUM_LEN keeps each
/// rank's own. `choose` sees the aligned counts of the group and returns the transport.
template <RoundingPolicy Rounding, class Choose>
void make_plan(const PlanInput& input, int rank, const Rounding& rounding, const Choose& choose,
               Plan& plan) {
  detail::load_group(input, rank, plan);
  const Transport transport = choose(StepLoad{plan.lens, is_prefill(input.forward)});
  plan.shape = {.transport = transport, .forward = input.forward, .width = input.width};
  if (len_mode(transport) == LenMode::max_len) {
    const std::int64_t longest = max(plan.lens);
    plan.shape.local_len = longest == 0 ? 0 : round_up(rounding(longest), input.alignment());
    plan.shape.global_len = plan.shape.local_len * plan.blocks();
  } else {
    plan.shape.local_len = plan.own_len();
    plan.shape.global_len = sum(plan.lens);
  }
  detail::place_blocks(plan);
}

/// Plan at a captured shape. Throws CapacityError, on every rank alike, if the counts do not fit
/// it.
inline void make_static_plan(const PlanInput& input, int rank, const ShapeKey& shape, Plan& plan) {
  detail::load_group(input, rank, plan);
  const ErrorContext where{.rank = rank, .operation = "plan"};
  require(shape.is_static && graph_safe(shape.transport), where, "shape ", shape,
          " cannot be captured");
  const std::int64_t longest = max(plan.lens);
  require<CapacityError>(longest <= shape.local_len, where, "longest rank has ", longest,
                         " rows, the captured local_len is ", shape.local_len);
  plan.shape = shape;
  detail::place_blocks(plan);
  const std::int64_t rows = plan.offsets.back() + plan.lens.back();
  require<CapacityError>(rows <= shape.global_len, where, "ranks have ", rows,
                         " rows, the captured global_len is ", shape.global_len);
}

}  // namespace dpgather
