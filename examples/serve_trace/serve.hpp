// Starts the serving loop on all ranks: the step from --comm to a type.
#pragma once

#include "figures.hpp"
#include "hooks.hpp"
#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

/// Ranks are threads of this process. Throws what the first rank that failed threw.
[[nodiscard]] Figures serve_threads(const Options& options, const Trace& trace,
                                    const Hooks& hooks = {});

/// Ranks are the processes of this MPI run; every process calls it. Throws BadInput without MPI, or
/// if the number of processes is not that of ranks.
[[nodiscard]] Figures serve_mpi(const Options& options, const Trace& trace,
                                const Hooks& hooks = {});

/// Ranks are threads with a simulated GPU each, rows travel over simulated NCCL. Throws BadInput where
/// the headers of CUDA and NCCL were not there when this was built.
[[nodiscard]] Figures serve_sim(const Options& options, const Trace& trace,
                                const Hooks& hooks = {});
/// The same over ThreadComm, on two simulated GPUs that the ranks share.
[[nodiscard]] Figures serve_sim_thread(const Options& options, const Trace& trace,
                                       const Hooks& hooks = {});

}  // namespace serve_trace
