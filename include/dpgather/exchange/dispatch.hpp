// From the transport of a shape to the code that does it; only what the mode may use is built.
#pragma once

#include <utility>

#include <dpgather/core/error.hpp>
#include <dpgather/exchange/max_len.hpp>
#include <dpgather/exchange/modes.hpp>
#include <dpgather/exchange/sum_len_all_gather_v.hpp>
#include <dpgather/exchange/sum_len_all_reduce.hpp>

namespace dpgather::detail {

template <GatherMode Mode, class Body>
decltype(auto) dispatch(Transport transport, const Body& body) {
  if constexpr (Mode::may_use(Transport::max_len))
    if (transport == Transport::max_len) return body(MaxLenTransport{});
  if constexpr (Mode::may_use(Transport::sum_len_all_reduce))
    if (transport == Transport::sum_len_all_reduce) return body(SumLenAllReduceTransport{});
  if constexpr (Mode::may_use(Transport::sum_len_all_gather_v))
    if (transport == Transport::sum_len_all_gather_v) return body(SumLenAllGatherVTransport{});
  throw InvalidArgument({.operation = "DpGather"},
                        concat("this mode cannot use transport ", name(transport)));
}

}  // namespace dpgather::detail
