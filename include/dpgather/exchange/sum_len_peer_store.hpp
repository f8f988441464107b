// SUM_LEN by stores into peers' buffers: the rows that exist travel, and no others, and a graph can
// hold it, since counts and offsets are read when it runs.
#pragma once

#include <cstdint>

#include <dpgather/exchange/context.hpp>
#include <dpgather/exchange/peer_bodies.hpp>

namespace dpgather::detail {

/// Every call is between two barriers of the FFN group: no rank stores before its peers have come to
/// this call, hence are done with what they got before; and none goes on before all have stored.
/// docs/peer_store.md has the argument.
struct SumLenPeerStoreTransport {
  /// A fixed buffer, `[local_len, H]`: where the rows go varies from step to step.
  template <class T, class Comm>
  static Rows<T> slot(const ExchangeContext<T, Comm>& at, const ShapeKey& shape) {
    return {at.staging, shape.local_len, at.hidden};
  }

  /// A replicated input is sent once: each attention-TP rank stores its slice. Partial inputs are
  /// reduce-scattered to the slices within attention TP first.
  template <class T, class Comm>
  static void gather(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<const T> input,
                     Input kind, typename Comm::memory_type::stream_type stream) {
    const std::int64_t slice = at.slice(shape);
    const bool reduce = kind == Input::partial && at.attn_tp > 1;
    if (reduce) input = reduce_to_slices(at, shape, input, stream);
    at.ffn.barrier(stream);
    if (shape.is_static || at.plan.valid_rows < shape.global_len)
      zero_tail(at.valid_rows(shape), at.global_rows(shape), stream);
    launch(stream, "store_to_peers", at.ffn.size() * slice,
           StoreToPeers<T>{input, at.peers.global, slice, shape.local_len, shape.global_len, at.tp,
                           at.attn_tp, reduce ? slice : 0, at.counts});
    at.ffn.barrier(stream);
    note(at, stream, [](const Plan& plan) { return plan.valid_rows; });
  }

  /// Each attention-TP rank pulls its slice. `partial` is copied where peers cannot reach it: best
  /// is `partial_slot`.
  template <class T, class Comm>
  static void reduce_scatter(const ExchangeContext<T, Comm>& at, const ShapeKey& shape,
                             Rows<const T> partial, Rows<T> out,
                             typename Comm::memory_type::stream_type stream) {
    const Rows<T> mine{at.partial, shape.global_len, at.hidden};
    const Rows<T> landed = at.landing(shape, out);
    const std::int64_t slice = at.slice(shape);
    if (partial.data() != mine.data())
      launch(stream, "copy_partial", mine.rows(), CopyRow<T>{partial, mine});
    at.ffn.barrier(stream);
    launch(stream, "pull_and_add", slice,
           PullAndAdd<T>{at.peers.partial, landed.slice(at.tp * slice, slice), at.tp * slice,
                         shape.local_len, shape.global_len, at.counts});
    at.ffn.barrier(stream);
    note(at, stream, [slice, tp = at.tp, ranks = at.ffn.size()](const Plan& plan) {
      return rows_in_slice(plan.own_valid(), slice, tp) * ranks;
    });
    join_slices(at, shape, landed, out, stream);
  }

  /// Partial inputs are added within attention TP: each rank gets its slice of them, in the slot.
  template <class T, class Comm>
  static Rows<const T> reduce_to_slices(const ExchangeContext<T, Comm>& at, const ShapeKey& shape,
                                        Rows<const T> input,
                                        typename Comm::memory_type::stream_type stream) {
    const Rows<T> own = slot(at, shape);
    const std::int64_t elements = at.slice(shape) * at.hidden;
    launch(stream, "fill_slot", own.rows(), SelectOwnRow<T>{input, own, 0, own.rows(), at.counts});
    at.attn->reduce_scatter(static_cast<const T*>(own.data()), own.data() + at.tp * elements,
                            elements, stream);
    return own;
  }
  /// Each attention-TP rank has its slice of `landed`: all get all, and pads of `out` are zero.
  template <class T, class Comm>
  static void join_slices(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<T> landed,
                          Rows<T> out, typename Comm::memory_type::stream_type stream) {
    const std::int64_t elements = at.slice(shape) * at.hidden;
    if (at.attn_tp > 1)
      at.attn->all_gather(static_cast<const T*>(landed.data() + at.tp * elements), landed.data(),
                          elements, stream);
    if (landed.data() != out.data()) settle<T>(at, shape, landed, out, stream);
  }
  /// The communicator sees no element of this: it is told of those that each launch moves.
  template <class T, class Comm, class RowsOf>
  static void note(const ExchangeContext<T, Comm>& at,
                   typename Comm::memory_type::stream_type stream, RowsOf rows_of) {
    stream.on_launch([ffn = &at.ffn, plan = &at.plan, hidden = at.hidden, rows_of] {
      ffn->note_moved(rows_of(*plan) * hidden);
    });
  }
};

}  // namespace dpgather::detail
