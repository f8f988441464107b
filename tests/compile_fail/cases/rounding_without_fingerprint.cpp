// message: RoundingPolicy
#include <dpgather/plan/plan.hpp>

struct Twice {
  std::int64_t operator()(std::int64_t len) const { return 2 * len; }
};
void make(const dpgather::PlanInput& input, dpgather::Plan& plan) {
  const auto choose = [](const dpgather::StepLoad&) { return dpgather::Transport::max_len; };
  dpgather::make_plan(input, 0, dpgather::ExactLen{}, choose, plan);
  dpgather::make_plan(input, 0, Twice{}, choose, plan);  // wrong
}
