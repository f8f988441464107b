// The step from --mode and --rule to a type.
#pragma once

#include <dpgather/exchange/auto_mode.hpp>

#include "options.hpp"

namespace serve_trace {

/// Calls `f(mode)`. `Peers`: modes that need memory of peers are among them; they are asked for only
/// where the communicator offers it (see parse_options).
template <bool Peers, class F>
decltype(auto) with_mode(const Options& options, const F& f) {
  if constexpr (Peers) {
    if (options.mode == ModeChoice::sum_len_peer) return f(dpgather::SumLen<dpgather::PeerStore>{});
    if (options.mode == ModeChoice::sum_len_hier)
      return f(dpgather::SumLen<dpgather::Hierarchical>{});
  }
  if (options.mode == ModeChoice::max_len) return f(dpgather::MaxLen{});
  if (options.mode == ModeChoice::sum_len) return f(dpgather::SumLen<dpgather::AllReduce>{});
  if (options.mode == ModeChoice::sum_len_v) return f(dpgather::SumLen<dpgather::AllGatherV>{});
  return f(dpgather::Auto<dpgather::VolumeRule>{options.volume_rule(), options.peers});
}

}  // namespace serve_trace
