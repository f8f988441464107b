// What tests of plans share.
#pragma once

#include <dpgather/plan/plan.hpp>
#include <dpgather/plan/rule.hpp>

namespace plan_test {

/// The transport that a rule's mode stands for on a path without v-collectives.
template <dpgather::LenRule Rule>
auto by_rule(const Rule& rule) {
  return [rule](const dpgather::StepLoad& load) {
    return rule.choose(load) == dpgather::LenMode::max_len
               ? dpgather::Transport::max_len
               : dpgather::Transport::sum_len_all_reduce;
  };
}
inline auto always(dpgather::Transport transport) {
  return [transport](const dpgather::StepLoad&) { return transport; };
}

}  // namespace plan_test
