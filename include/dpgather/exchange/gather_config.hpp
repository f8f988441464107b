// What a gather is set up with, and what it counts.
#pragma once

#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/layout.hpp>
#include <dpgather/plan/plan.hpp>

namespace dpgather {

struct GatherConfig {
  DpLayout layout;
  std::int64_t hidden = 0;          ///< H, elements per row
  std::int64_t max_local_rows = 0;  ///< most rows of one DP rank in a step, before rounding
  std::int64_t max_global_rows =
      0;  ///< rows of the global buffer; 0 is group_dp * rounded max_local_rows
  RowAxis axis = RowAxis::tokens;  ///< which counts of the step: token rows or logits rows
  int phase = 0;                   ///< which phase of the step

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
    require(phase >= 0, where, "phase is ", phase, ", must not be negative");
  }
};

/// Elements that this rank received from the FFN group, as its communicator counted them; divide by
/// H for rows, and average over ranks for the rows that a gather moves. Traffic within attention TP
/// is not in it.
struct RowsMoved {
  std::uint64_t out = 0;
  std::uint64_t back = 0;
};

}  // namespace dpgather
