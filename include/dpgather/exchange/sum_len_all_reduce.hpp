// SUM_LEN by all-reduce: every rank adds its rows to a zeroed global buffer. A graph can hold it,
// since counts and offsets are read when it runs. A negative zero comes out as zero: it was added
// to zeros.
#pragma once

#include <algorithm>
#include <cstdint>

#include <dpgather/exchange/context.hpp>

namespace dpgather::detail {

struct SumLenAllReduceTransport {
  /// Exact shapes: own block of the global buffer. Captured shapes: a fixed buffer, since the block
  /// moves from step to step; one copy remains then. `[local_len, H]`
  template <class T, class Comm>
  static Rows<T> slot(const ExchangeContext<T, Comm>& at, const ShapeKey& shape) {
    if (shape.is_static) return {at.staging, shape.local_len, at.hidden};
    return at.global_rows(shape).slice(at.plan.own_offset(), shape.local_len);
  }

  /// A replicated input is sent once: each attention-TP rank adds its slice.
  template <class T, class Comm>
  static void gather(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<const T> input,
                     Input kind, typename Comm::memory_type::stream_type stream) {
    const Rows<T> global = at.global_rows(shape);
    const bool sliced = kind == Input::replicate && at.attn_tp > 1;
    launch(stream, "zero_and_place", global.rows(),
           PlaceOwnRow<T>{input, global, shape.local_len, at.tp, at.attn_tp, sliced, at.counts});
    at.ffn.all_reduce(static_cast<const T*>(at.global), at.global, global.size(), stream);
  }

  template <class T, class Comm>
  static void reduce_scatter(const ExchangeContext<T, Comm>& at, const ShapeKey& shape,
                             Rows<const T> partial, Rows<T> out,
                             typename Comm::memory_type::stream_type stream) {
    // In place if `partial` is ours, else into ours: the caller's rows stay as they are.
    const Rows<T> sums{at.partial, shape.global_len, at.hidden};
    at.ffn.all_reduce(partial.data(), sums.data(), sums.size(), stream);
    slice_own<T>(stream, at.counts, sums, out, shape.local_len);
  }
};

}  // namespace dpgather::detail
