#include <fmt/format.h>

#include "serve.hpp"

#ifdef SERVE_TRACE_SIM

#include <dpgather/comm/nccl.hpp>

#include "simulate.hpp"

namespace serve_trace {

Figures serve_sim(const Options& options, const Trace& trace, const Hooks& hooks) {
  const int world = options.layout().world();
  return serve_simulated(options, trace, hooks, world,
                         [world](int rank, dpgather::ThreadControl& control) {
                           return dpgather::NcclComm<>(dpgather::share_by(control), rank, world);
                         });
}

}  // namespace serve_trace

#else

namespace serve_trace {

Figures serve_sim(const Options& options, const Trace&, const Hooks&) {
  throw BadInput(fmt::format("--comm {}: this program was built without {}", name(options.comm),
                             SERVE_TRACE_SIM_MISSING));
}

}  // namespace serve_trace

#endif
