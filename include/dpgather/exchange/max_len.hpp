// MAX_LEN: every rank padded to local_len; all-gather out, reduce-scatter back. Any attention TP.
#pragma once

#include <cstdint>

#include <dpgather/exchange/context.hpp>

namespace dpgather::detail {

struct MaxLenTransport {
  /// Own block of the global buffer, `[local_len, H]`.
  template <class T, class Comm>
  static Rows<T> slot(const ExchangeContext<T, Comm>& at, const ShapeKey& shape) {
    return at.global_rows(shape).slice(at.counts.own * shape.local_len, shape.local_len);
  }

  /// One pass over own rows, none if `input` is the slot and its pads are zero or there are none;
  /// then one in-place all-gather of slices. Partial inputs are reduce-scattered to the slices within attention TP
  /// first.
  template <class T, class Comm>
  static void gather(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<const T> input,
                     Input kind, typename Comm::memory_type::stream_type stream) {
    const std::int64_t slice = at.slice(shape);
    const bool reduce = kind == Input::partial && at.attn_tp > 1;
    const std::int64_t first = reduce ? 0 : at.tp * slice;
    const std::int64_t count = reduce ? shape.local_len : slice;
    const Rows<T> own = slot(at, shape);
    const bool in_slot = input.data() == own.data() && input.stride() == own.stride();
    if (!in_slot || !(at.clean_slots || at.no_local_pads(shape)))
      launch(stream, "fill_slot", count, SelectOwnRow<T>{input, own, first, own.rows(), at.counts});
    const std::int64_t elements = slice * at.hidden;
    T* const own_slice = own.data() + at.tp * elements;
    if (reduce)
      at.attn->reduce_scatter(static_cast<const T*>(own.data()), own_slice, elements, stream);
    at.ffn.all_gather(static_cast<const T*>(own_slice), at.global, elements, stream);
  }

  template <class T, class Comm>
  static void reduce_scatter(const ExchangeContext<T, Comm>& at, const ShapeKey& shape,
                             Rows<const T> partial, Rows<T> out,
                             typename Comm::memory_type::stream_type stream) {
    const Rows<T> landed = at.landing(shape, out);
    const std::int64_t elements = at.slice(shape) * at.hidden;
    T* const own_slice = landed.data() + at.tp * elements;
    at.ffn.reduce_scatter(partial.data(), own_slice, elements, stream);
    if (at.attn_tp > 1)
      at.attn->all_gather(static_cast<const T*>(own_slice), landed.data(), elements, stream);
    settle<T>(at, shape, landed, out, stream);
  }
};

}  // namespace dpgather::detail
