// SUM_LEN across hosts: stores and pulls inside a host, one exchange between the hosts' leaders,
// padded in a captured shape and ragged in an exact one. A graph can hold it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <dpgather/exchange/context.hpp>
#include <dpgather/exchange/host_bodies.hpp>
#include <dpgather/exchange/sum_len_peer_store.hpp>

namespace dpgather::detail {

/// With one host this is SumLenPeerStoreTransport. Every call ends with a barrier of the host: then
/// all have read what they need of the leader's area, which the next call writes.
/// docs/hierarchical.md has the argument.
struct SumLenHierarchicalTransport {
  /// A fixed buffer, `[local_len, H]`: where the rows go varies from step to step.
  template <class T, class Comm>
  static Rows<T> slot(const ExchangeContext<T, Comm>& at, const ShapeKey& shape) {
    return SumLenPeerStoreTransport::slot(at, shape);
  }

  template <class T, class Comm>
  static void gather(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<const T> input,
                     Input kind, typename Comm::memory_type::stream_type stream) {
    const HostExchange<T, Comm>& hosts = at.hosts;
    if (hosts.members == nullptr)
      return SumLenPeerStoreTransport::gather(at, shape, input, kind, stream);
    const std::int64_t slice = at.slice(shape);
    const bool reduce = kind == Input::partial && at.attn_tp > 1;
    if (reduce) input = SumLenPeerStoreTransport::reduce_to_slices(at, shape, input, stream);
    const HostRows places = host_rows(at, shape);
    launch(stream, "store_to_leader", slice,
           StoreToLeader<T>{input, hosts.area, places, shape.local_len, at.tp, at.attn_tp,
                            reduce ? slice : 0});
    hosts.members->barrier(stream);
    if (hosts.leaders != nullptr) {
      if (shape.is_static) {
        const std::int64_t elements = places.host_len * at.hidden;
        hosts.leaders->all_gather(static_cast<const T*>(hosts.own_area + hosts.host * elements),
                                  hosts.own_area, elements, stream);
      } else {
        size_hosts(at);
        const RaggedSizes& sizes = *hosts.ragged;
        hosts.leaders->all_gather_v(
            static_cast<const T*>(hosts.own_area +
                                  sizes.offsets[static_cast<std::size_t>(hosts.host)]),
            hosts.own_area, sizes.counts, sizes.offsets, stream);
      }
    }
    hosts.members->barrier(stream);
    launch(stream, "pull_all", shape.global_len,
           PullAll<T>{hosts.area, at.global_rows(shape), places});
    hosts.members->barrier(stream);
    if (hosts.leaders == nullptr)
      SumLenPeerStoreTransport::note(at, stream, [](const Plan& plan) { return plan.valid_rows; });
  }

  /// Sums are rounded to T once on each host, and once between them.
  template <class T, class Comm>
  static void reduce_scatter(const ExchangeContext<T, Comm>& at, const ShapeKey& shape,
                             Rows<const T> partial, Rows<T> out,
                             typename Comm::memory_type::stream_type stream) {
    const HostExchange<T, Comm>& hosts = at.hosts;
    if (hosts.members == nullptr)
      return SumLenPeerStoreTransport::reduce_scatter(at, shape, partial, out, stream);
    const Rows<T> mine{at.partial, shape.global_len, at.hidden};
    const Rows<T> landed = at.landing(shape, out);
    const std::int64_t slice = at.slice(shape);
    const HostRows places = host_rows(at, shape);
    if (partial.data() != mine.data())
      launch(stream, "copy_partial", mine.rows(), CopyRow<T>{partial, mine});
    hosts.members->barrier(stream);
    // Each member adds its share of the rows.
    const std::int64_t share = ceil_div(shape.global_len, hosts.members->size());
    const std::int64_t first = std::min(share * hosts.members->rank(), shape.global_len);
    launch(stream, "add_on_host", std::min(share, shape.global_len - first),
           AddOnHost<T>{hosts.partial, hosts.area, places, at.hidden, first});
    hosts.members->barrier(stream);
    if (hosts.leaders != nullptr) {
      const T* const sums = hosts.own_area;
      if (shape.is_static) {
        const std::int64_t elements = places.host_len * at.hidden;
        hosts.leaders->reduce_scatter(sums, hosts.own_area + hosts.host * elements, elements,
                                      stream);
      } else {
        size_hosts(at);
        const RaggedSizes& sizes = *hosts.ragged;
        hosts.leaders->reduce_scatter_v(
            sums, hosts.own_area + sizes.offsets[static_cast<std::size_t>(hosts.host)],
            sizes.counts, sizes.offsets, stream);
      }
    }
    hosts.members->barrier(stream);
    launch(stream, "pull_own", slice,
           PullOwn<T>{hosts.area, landed.slice(at.tp * slice, slice), places, at.tp * slice,
                      shape.local_len});
    hosts.members->barrier(stream);
    note_back(at, slice, share, first, stream);
    SumLenPeerStoreTransport::join_slices(at, shape, landed, out, stream);
  }

 private:
  template <class T, class Comm>
  static HostRows host_rows(const ExchangeContext<T, Comm>& at, const ShapeKey& shape) {
    const std::int64_t most = std::min(shape.global_len, shape.local_len * at.hosts.blocks);
    return {at.counts, at.hosts.blocks, shape.is_static ? most : 0, shape.global_len};
  }
  /// Of this exact shape: the hosts' rows, one run after the other.
  template <class T, class Comm>
  static void size_hosts(const ExchangeContext<T, Comm>& at) {
    const auto blocks = static_cast<std::size_t>(at.hosts.blocks);
    for (std::size_t h = 0; h < at.hosts.ragged->counts.size(); ++h) {
      const std::size_t last = (h + 1) * blocks - 1;
      const std::int64_t start = at.plan.offsets[h * blocks];
      at.hosts.ragged->offsets[h] = start * at.hidden;
      at.hosts.ragged->counts[h] = (at.plan.offsets[last] + at.plan.lens[last] - start) * at.hidden;
    }
  }
  /// The rows that exist of this rank's share, from each member, and its own from the leader.
  template <class T, class Comm>
  static void note_back(const ExchangeContext<T, Comm>& at, std::int64_t slice, std::int64_t share,
                        std::int64_t first, typename Comm::memory_type::stream_type stream) {
    const auto ranks = static_cast<std::int64_t>(at.hosts.members->size());
    const std::int64_t pulled = at.hosts.leaders == nullptr ? 1 : 0;
    SumLenPeerStoreTransport::note(at, stream, [=, tp = at.tp](const Plan& plan) {
      std::int64_t rows = 0;
      for (std::size_t d = 0; d < plan.valid.size(); ++d)
        rows += std::max<std::int64_t>(0, std::min(first + share, plan.offsets[d] + plan.valid[d]) -
                                              std::max(first, plan.offsets[d]));
      return rows * ranks + pulled * rows_in_slice(plan.own_valid(), slice, tp);
    });
  }
};

}  // namespace dpgather::detail
