// From the transport of a shape to the code that does it; only what the mode may use is built.
#pragma once

#include <utility>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/exchange/max_len.hpp>
#include <dpgather/exchange/modes.hpp>
#include <dpgather/exchange/sum_len_all_gather_v.hpp>
#include <dpgather/exchange/sum_len_all_reduce.hpp>
#include <dpgather/exchange/sum_len_hierarchical.hpp>
#include <dpgather/exchange/sum_len_peer_store.hpp>

namespace dpgather::detail {

/// Whether a gather sets up what stores into peers' buffers need. A mode that knows nothing else
/// must be able to.
template <GatherMode Mode, class Comm>
[[nodiscard]] consteval bool may_store_to_peers() {
  constexpr bool asked = Mode::may_use(Transport::sum_len_peer_store) ||
                         Mode::may_use(Transport::sum_len_hierarchical);
  static_assert(
      !asked || PeerCommunicator<Comm> || Mode::may_use(Transport::max_len),
      "SumLen<PeerStore> needs a communicator whose ranks reach each other's memory, as "
      "those of ThreadComm and IpcComm do, and so does SumLen<Hierarchical> on each host");
  return asked && PeerCommunicator<Comm>;
}
template <class Mode, class Comm>
inline constexpr bool stores_to_peers = may_store_to_peers<Mode, Comm>();
template <class Mode, class Comm>
inline constexpr bool goes_by_hosts =
    stores_to_peers<Mode, Comm>&& Mode::may_use(Transport::sum_len_hierarchical);

template <GatherMode Mode, class Comm, class Body>
decltype(auto) dispatch(Transport transport, const Body& body) {
  if constexpr (Mode::may_use(Transport::max_len))
    if (transport == Transport::max_len) return body(MaxLenTransport{});
  if constexpr (Mode::may_use(Transport::sum_len_all_reduce))
    if (transport == Transport::sum_len_all_reduce) return body(SumLenAllReduceTransport{});
  if constexpr (Mode::may_use(Transport::sum_len_all_gather_v))
    if (transport == Transport::sum_len_all_gather_v) return body(SumLenAllGatherVTransport{});
  if constexpr (stores_to_peers<Mode, Comm> && Mode::may_use(Transport::sum_len_peer_store))
    if (transport == Transport::sum_len_peer_store) return body(SumLenPeerStoreTransport{});
  if constexpr (goes_by_hosts<Mode, Comm>)
    if (transport == Transport::sum_len_hierarchical) return body(SumLenHierarchicalTransport{});
  throw InvalidArgument({.operation = "DpGather"},
                        concat("this mode cannot use transport ", name(transport)));
}

}  // namespace dpgather::detail
