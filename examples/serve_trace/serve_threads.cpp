#include <memory>
#include <mutex>

#include <dpgather/comm/thread.hpp>

#include "serve.hpp"
#include "serving_loop.hpp"
#include "with_mode.hpp"

namespace serve_trace {

Figures serve_threads(const Options& options, const Trace& trace, const Hooks& hooks) {
  const int world = options.layout().world();
  const auto hub = std::make_shared<dpgather::ThreadHub>(world);
  const auto board = std::make_shared<dpgather::ThreadControlBoard>(world);
  Figures figures;
  dpgather::run_ranks(world, [&](int rank) {
    dpgather::ThreadComm<> comm(hub, rank);
    dpgather::ThreadControl control(board, rank);
    try {
      with_mode<true>(options, [&](auto mode) {
        ServingLoop loop(options, trace, comm, control, mode, hooks);
        const Figures mine = loop.run();
        if (rank == 0) figures = mine;
      });
    } catch (const std::exception& error) {
      // Peers may wait on either plane.
      comm.abort(error.what());
      control.abort(error.what());
      throw;
    }
  });
  return figures;
}

}  // namespace serve_trace
