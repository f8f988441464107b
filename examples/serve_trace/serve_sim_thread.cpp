#include "serve.hpp"

#ifdef SERVE_TRACE_SIM

#include <algorithm>

#include <dpgather/comm/thread_device.hpp>

#include "simulate.hpp"

namespace serve_trace {

Figures serve_sim_thread(const Options& options, const Trace& trace, const Hooks& hooks) {
  using Comm = dpgather::ThreadComm<dpgather::DeviceMemory>;
  const int world = options.layout().world();
  const auto hub = std::make_shared<dpgather::ThreadHub>(world);
  return serve_simulated(options, trace, hooks, std::min(world, 2),
                         [&hub](int rank, dpgather::ThreadControl&) { return Comm(hub, rank); });
}

}  // namespace serve_trace

#else

namespace serve_trace {

Figures serve_sim_thread(const Options& options, const Trace& trace, const Hooks& hooks) {
  return serve_sim(options, trace, hooks);  // which says what is missing
}

}  // namespace serve_trace

#endif
