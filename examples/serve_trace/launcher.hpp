// Which of the processes that a launcher started this one is, as far as its environment tells.
#pragma once

namespace serve_trace {

/// True for one process a host: the one that prints an error that all have. Needs no MPI, so that
/// bad options are reported before MPI starts.
[[nodiscard]] bool speaks_for_host();

}  // namespace serve_trace
