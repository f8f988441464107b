#include <fmt/format.h>

#include "serve.hpp"

#ifdef SERVE_TRACE_MPI

#include <dpgather/comm/mpi.hpp>

#include "serving_loop.hpp"
#include "with_mode.hpp"

namespace serve_trace {

Figures serve_mpi(const Options& options, const Trace& trace, const Hooks& hooks) {
  const int world = options.layout().world();
  int processes = 0;
  Figures figures;
  {
    const dpgather::MpiEnvironment environment;
    environment.run([&] {
      dpgather::MpiComm<> comm;
      dpgather::MpiControl control;
      processes = comm.size();
      if (processes != world) return;
      with_mode<false>(options, [&](auto mode) {
        ServingLoop loop(options, trace, comm, control, mode, hooks);
        figures = loop.run();
      });
      figures.rank = comm.rank();
    });
  }
  if (processes != world)
    throw BadInput(
        fmt::format("--ranks {} times --attn-tp {} needs {} processes, mpirun started {}",
                    options.ranks, options.attn_tp, world, processes));
  return figures;
}

}  // namespace serve_trace

#else

namespace serve_trace {

Figures serve_mpi(const Options&, const Trace&, const Hooks&) {
  throw BadInput("--comm mpi: this program was built without MPI");
}

}  // namespace serve_trace

#endif
