#include "moved_rows.hpp"

#include <algorithm>

namespace serve_trace {
namespace {

using dpgather::Plan;
using dpgather::Transport;

/// Leaders exchange hosts, the other ranks pull from theirs; back, members add each other's rows
/// first. In a graph a host takes the room that its shape has, else what it has.
MovedRows by_hosts(const Plan& plan, int hosts) {
  const std::int64_t ranks = plan.layout.group_world(), leaders = hosts;
  const std::int64_t blocks = plan.blocks() / hosts;
  const std::int64_t room = std::min(plan.shape.global_len, plan.shape.local_len * blocks);
  const std::int64_t lens = dpgather::sum(plan.lens);
  MovedRows moved{.out = (ranks - leaders) * plan.valid_rows +
                         leaders * (plan.shape.is_static ? hosts * room : lens),
                  .back = ranks * plan.valid_rows +
                          (plan.shape.is_static ? leaders * hosts * room : hosts * lens)};
  for (std::int64_t block = 0; block < plan.blocks(); ++block) {
    const auto at = static_cast<std::size_t>(block);
    const std::int64_t len = plan.shape.is_static ? plan.shape.local_len : plan.lens[at];
    moved.back += plan.valid[at];
    // Its leader has its own slice already.
    if (block % blocks == 0) moved.back -= std::min(plan.valid[at], len / plan.layout.attn_tp);
  }
  return moved;
}

}  // namespace

MovedRows moved_rows(const Plan& plan, int hosts) {
  const std::int64_t ranks = plan.layout.group_world();
  switch (plan.shape.transport) {
    case Transport::max_len:
      break;
    case Transport::sum_len_all_reduce:
      return {2 * ranks * plan.shape.global_len, 2 * ranks * plan.shape.global_len};
    case Transport::sum_len_all_gather_v:
    case Transport::sum_len_peer_store:
      return {ranks * plan.valid_rows, ranks * plan.valid_rows};
    case Transport::sum_len_hierarchical:
      if (hosts == 1) return {ranks * plan.valid_rows, ranks * plan.valid_rows};
      return by_hosts(plan, hosts);
  }
  return {ranks * plan.shape.global_len, ranks * plan.shape.global_len};
}

}  // namespace serve_trace
