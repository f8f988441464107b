// Waiting for what was begun.
#pragma once

namespace gather_perf {

/// Until what was begun on `stream` is done; in memory of the host it is.
template <class Comm>
void wait_for(Comm& comm, typename Comm::memory_type::stream_type stream) {
  if constexpr (requires { comm.synchronize(stream); }) comm.synchronize(stream);
}

}  // namespace gather_perf
