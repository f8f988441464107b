// What a gather is set up with, and what it counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/layout.hpp>
#include <dpgather/plan/plan.hpp>

namespace dpgather {

struct GatherConfig {
  DpLayout layout = {};
  std::int64_t hidden = 0;          ///< H, elements per row
  std::int64_t max_local_rows = 0;  ///< most rows of one DP rank in a step, before rounding
  std::int64_t max_global_rows =
      0;  ///< rows of the global buffer; 0 is group_dp * rounded max_local_rows
  RowAxis axis = RowAxis::tokens;  ///< which counts of the step: token rows or logits rows
  int phase = 0;                   ///< which phase of the step
  /// The producer writes into slots no row but those that exist: `begin_step` zeroes the others of a
  /// MAX_LEN slot, once a step, and gathers from the slot are a collective and nothing else.
  bool clean_slots = false;
  /// Hosts of the FFN group: consecutive ranks, equally many on each, and those of a DP rank on one.
  /// If there are several, Auto and SumLen<Hierarchical> reach memory on a rank's own host only.
  int hosts = 1;

  /// Throws InvalidArgument unless a communicator of `ranks` ranks can serve it.
  void check(int rank, int ranks) const {
    const ErrorContext where{.rank = rank, .operation = "DpGather"};
    layout.check();
    require(ranks == layout.group_world(), where, "the communicator has ", ranks,
            " ranks, the FFN group has ", layout.group_world());
    require(hidden >= 1 && hidden <= max_rows, where, "hidden is ", hidden, ", must be 1 to ",
            max_rows);
    require(max_local_rows >= 1 && max_local_rows <= max_rows / layout.dp, where,
            "max_local_rows is ", max_local_rows, ", must be 1 to ", max_rows / layout.dp);
    require(max_global_rows >= 0 && max_global_rows <= max_rows, where, "max_global_rows is ",
            max_global_rows, ", must be 0 to ", max_rows);
    require(hosts >= 1 && layout.group_dp() % hosts == 0, where, "hosts is ", hosts,
            ", must divide the ", layout.group_dp(), " DP ranks of the FFN group");
    require(phase >= 0, where, "phase is ", phase, ", must not be negative");
  }

  /// With every limit filled in and rounded. Checks first.
  template <class Rounding>
  [[nodiscard]] GatherConfig settled(const Rounding& rounding, int rank, int ranks) const {
    check(rank, ranks);
    GatherConfig result = *this;
    result.max_local_rows = round_up(rounding(max_local_rows), layout.attn_tp);
    if (max_global_rows == 0) result.max_global_rows = result.max_local_rows * layout.group_dp();
    return result;
  }

  /// Throws CapacityError, on every rank of the group alike, if a step does not fit the buffers.
  void check_plan(const Plan& plan, const ErrorContext& where) const {
    const auto longest = std::max_element(plan.lens.begin(), plan.lens.end());
    const auto block = static_cast<std::size_t>(longest - plan.lens.begin());
    const auto fullest = static_cast<std::size_t>(
        std::max_element(plan.valid.begin(), plan.valid.end()) - plan.valid.begin());
    require<CapacityError>(*longest <= max_local_rows, where, "DP rank ",
                           layout.group_first_dp(plan.rank) + static_cast<std::int64_t>(fullest),
                           " has ", plan.valid[fullest], " rows, ", plan.lens[block],
                           " after padding, max_local_rows is ", max_local_rows);
    require<CapacityError>(plan.shape.global_len <= max_global_rows, where, "global len is ",
                           plan.shape.global_len, ", max_global_rows is ", max_global_rows);
  }
  /// A static shape stands for itself: captured code must not look at a plan. An exact one is that
  /// of the step.
  void check_shape(const ShapeKey& shape, const ShapeKey& begun, bool capturing,
                   const ErrorContext& where) const {
    require(shape.is_static || !capturing, where, "shape ", shape,
            " is of one step only and cannot be captured");
    if (shape.is_static)
      require<CapacityError>(
          shape.local_len <= max_local_rows && shape.global_len <= max_global_rows, where, "shape ",
          shape, " exceeds max_local_rows ", max_local_rows, " or max_global_rows ",
          max_global_rows);
    else
      require(shape == begun, where, "shape is ", shape, ", begin_step was given ", begun);
  }
};

/// Elements that this rank received from the FFN group, as its communicator counted them; divide by
/// H for rows, and average over ranks for the rows that a gather moves. Traffic within attention TP
/// is not in it. By SumLen<Hierarchical> on several hosts these are: on leaders, what they exchange
/// with each other, pads and their own host's rows included; on the other members of a host, the
/// rows that they pull from their leader; and on the way back also those of their share of the sums
/// of a host, from each member.
struct RowsMoved {
  std::uint64_t out = 0;
  std::uint64_t back = 0;
};

}  // namespace dpgather
