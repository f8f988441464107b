// How many rows a transport moves, from what docs/ say of it.
#pragma once

#include <cstdint>

#include <dpgather/plan/plan.hpp>

namespace serve_trace {

/// Summed over the ranks of one FFN group.
struct MovedRows {
  std::int64_t out = 0, back = 0;
};

/// Of the plan of a step, made by any rank, with the DP ranks on `hosts` hosts.
[[nodiscard]] MovedRows moved_rows(const dpgather::Plan& plan, int hosts);

}  // namespace serve_trace
