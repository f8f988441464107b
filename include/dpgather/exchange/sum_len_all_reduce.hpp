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
    const bool whole = kind == Input::partial || at.attn_tp == 1;
    stream.submit("zero_and_place", [global, input, whole, tp = at.tp, attn_tp = at.attn_tp,
                                     counts = at.counts, local_len = shape.local_len] {
      const std::int64_t valid = counts.own_valid(local_len);
      const std::int64_t slice = counts.lens[counts.own] / attn_tp;
      const std::int64_t first = whole ? 0 : std::min(tp * slice, valid);
      const std::int64_t last = whole ? valid : std::min(first + slice, valid);
      const std::int64_t start =
          std::clamp<std::int64_t>(counts.own_offset() + first, 0, global.rows());
      const std::int64_t count = counts.clamp(last - first, global.rows() - start);
      zero_rows(global.slice(0, start));
      copy_rows(input.slice(first, count), global.slice(start, count));
      zero_rows(global.slice(start + count, global.rows() - start - count));
    });
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
