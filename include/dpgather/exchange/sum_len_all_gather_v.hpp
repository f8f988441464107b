// SUM_LEN by all-gather-v: the rows that exist travel, and no others. Counts are arguments of the
// collective, so a graph cannot hold it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dpgather/exchange/context.hpp>

namespace dpgather::detail {

struct SumLenAllGatherVTransport {
  /// Own block of the global buffer, `[local_len, H]`.
  template <class T, class Comm>
  static Rows<T> slot(const ExchangeContext<T, Comm>& at, const ShapeKey& shape) {
    return at.global_rows(shape).slice(at.plan.own_offset(), shape.local_len);
  }

  /// Sends straight from `input` where its rows are contiguous; only partial or strided inputs are
  /// copied.
  template <class T, class Comm>
  static void gather(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<const T> input,
                     Input kind, typename Comm::memory_type::stream_type stream) {
    const Rows<T> own = slot(at, shape);
    const Rows<T> global = at.global_rows(shape);
    const std::int64_t slice = at.slice(shape);
    const std::int64_t elements = slice * at.hidden;
    const bool reduce = kind == Input::partial && at.attn_tp > 1;
    const T* send = input.data() + (input.empty() ? 0 : at.tp * elements);
    if (reduce || !input.contiguous()) {
      launch(stream, "fill_slot", own.rows(),
             SelectOwnRow<T>{input, own, 0, own.rows(), at.counts});
      send = own.data() + at.tp * elements;
    }
    if (reduce)
      at.attn->reduce_scatter(static_cast<const T*>(own.data()), own.data() + at.tp * elements,
                              elements, stream);
    size_slices(at);
    at.ffn.all_gather_v(send, at.global, at.ragged.counts, at.ragged.offsets, stream);
    if (at.plan.valid_rows < shape.global_len) zero_tail(at.valid_rows(shape), global, stream);
  }

  template <class T, class Comm>
  static void reduce_scatter(const ExchangeContext<T, Comm>& at, const ShapeKey& shape,
                             Rows<const T> partial, Rows<T> out,
                             typename Comm::memory_type::stream_type stream) {
    const Rows<T> landed = at.landing(shape, out);
    const std::int64_t slice = at.slice(shape);
    T* const own_slice = landed.data() + at.tp * slice * at.hidden;
    size_slices(at);
    at.ffn.reduce_scatter_v(partial.data(), own_slice, at.ragged.counts, at.ragged.offsets, stream);
    if (at.attn_tp > 1) {
      for (std::size_t t = 0; t < at.ragged_attn.counts.size(); ++t) {
        const auto i = static_cast<std::int64_t>(t);
        at.ragged_attn.counts[t] = rows_in_slice(at.plan.own_valid(), slice, i) * at.hidden;
        at.ragged_attn.offsets[t] = i * slice * at.hidden;
      }
      at.attn->all_gather_v(static_cast<const T*>(own_slice), landed.data(), at.ragged_attn.counts,
                            at.ragged_attn.offsets, stream);
    }
    settle<T>(at, shape, landed, out, stream);
  }

 private:
  /// Rank (d, t) has those rows of block d that exist in slice t.
  template <class T, class Comm>
  static void size_slices(const ExchangeContext<T, Comm>& at) {
    const auto attn_tp = static_cast<std::size_t>(at.attn_tp);
    for (std::size_t d = 0; d < at.plan.valid.size(); ++d) {
      const std::int64_t slice = at.plan.lens[d] / at.attn_tp;
      for (std::size_t t = 0; t < attn_tp; ++t) {
        const auto i = static_cast<std::int64_t>(t);
        at.ragged.counts[d * attn_tp + t] = rows_in_slice(at.plan.valid[d], slice, i) * at.hidden;
        at.ragged.offsets[d * attn_tp + t] = (at.plan.offsets[d] + i * slice) * at.hidden;
      }
    }
  }
};

}  // namespace dpgather::detail
