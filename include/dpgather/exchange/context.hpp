// What a transport works on, and what is common to the transports.
#pragma once

#include <algorithm>
#include <cstdint>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/exchange/device_counts.hpp>
#include <dpgather/exchange/host_exchange.hpp>
#include <dpgather/exchange/peer_table.hpp>
#include <dpgather/exchange/ragged_sizes.hpp>
#include <dpgather/exchange/row_ops.hpp>
#include <dpgather/exchange/valid_rows.hpp>
#include <dpgather/plan/plan.hpp>

namespace dpgather {

/// What the A attention-TP ranks of a DP rank hold: the same rows, or summands whose sum is the
/// rows.
enum class Input : std::uint8_t { replicate, partial };

namespace detail {

template <Element T, Communicator Comm>
struct ExchangeContext {
  Comm& ffn;         ///< the FFN group; rank = block * A + tp
  Comm* attn;        ///< the attention-TP group, null if A = 1
  const Plan& plan;  ///< of this step; transports use it for exact shapes only
  CountsView counts;
  std::int64_t hidden;
  std::int64_t tp;              ///< this rank's attention-TP rank
  std::int64_t attn_tp;         ///< A
  T* global;                    ///< [global_len, H]
  T* partial;                   ///< [global_len, H]
  T* staging;                   ///< [local_len, H]
  bool clean_slots;             ///< pads of a slot are zero already
  RaggedSizes& ragged;          ///< slices over the FFN group
  RaggedSizes& ragged_attn;     ///< slices within the attention-TP group
  GatherPeers<T> peers;         ///< of modes that store into peers' buffers
  HostExchange<T, Comm> hosts;  ///< of modes that go by hosts

  [[nodiscard]] Rows<T> global_rows(const ShapeKey& shape) const {
    return {global, shape.global_len, hidden};
  }
  [[nodiscard]] ValidRows valid_rows(const ShapeKey& shape) const {
    return {.valid = counts.valid,
            .offsets = counts.offsets,
            .blocks = counts.blocks,
            .global_len = shape.global_len};
  }
  /// Rows of one slice: attention TP cuts a block into A of them.
  [[nodiscard]] std::int64_t slice(const ShapeKey& shape) const {
    return shape.local_len / attn_tp;
  }

  /// All local rows exist, as far as the host may know: in an exact shape.
  [[nodiscard]] bool no_local_pads(const ShapeKey& shape) const {
    return !shape.is_static && plan.own_valid() == shape.local_len;
  }

  /// Where collectives may write a whole `[local_len, H]` result for `out`: there, or in staging.
  [[nodiscard]] Rows<T> landing(const ShapeKey& shape, Rows<T> out) const {
    const bool direct = out.rows() >= shape.local_len && out.stride() == hidden;
    return {direct ? out.data() : staging, shape.local_len, hidden};
  }
};

/// Brings `landed` to `out` and zeroes the pads of `out`; nothing where that is so already. Rows of
/// `out` beyond `local_len` are not touched.
template <Element T, Communicator Comm, class Stream>
void settle(const ExchangeContext<T, Comm>& at, const ShapeKey& shape, Rows<const T> landed,
            Rows<T> out, Stream stream) {
  if (landed.data() == out.data() && at.no_local_pads(shape)) return;
  const CountsView counts = at.counts;
  launch(stream, "settle_rows", std::min(out.rows(), landed.rows()),
         SelectOwnRow<T>{landed, out, 0, landed.rows(), counts});
}

/// Own rows of a whole `[global_len, H]` to `out`, pads zeroed.
template <Element T, class Stream>
void slice_own(Stream stream, CountsView counts, Rows<const T> full, Rows<T> out,
               std::int64_t local_len) {
  launch(stream, "slice_own_rows", std::min(out.rows(), local_len),
         SelectFromBlock<T>{full, out, local_len, counts});
}

}  // namespace detail
}  // namespace dpgather
