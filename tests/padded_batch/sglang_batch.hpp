// A batch with the fields of SGLang's padding table, memory for it, and what padding must make of
// it, written down a second time without the library's list.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <dpgather/core/element.hpp>
#include <dpgather/padded_batch.hpp>

#include "support/seed.hpp"

namespace test {

using dpgather::BatchField;
using dpgather::bf16;
using dpgather::Forward;

inline constexpr dpgather::ForwardSet prefill = {Forward::extend, Forward::mixed};
inline constexpr dpgather::ForwardSet speculative = {Forward::draft_decode, Forward::target_verify,
                                                     Forward::draft_extend};

struct SglangBatch {
  BatchField<std::int32_t> input_ids;         // [tokens]
  BatchField<float> embeddings;               // [tokens, H]
  BatchField<std::int64_t> out_cache_loc;     // [tokens]
  BatchField<std::int64_t> positions;         // [tokens]
  BatchField<std::int64_t> mrope_positions;   // [3, tokens]
  BatchField<bf16> draft_hidden;              // [tokens, H]
  BatchField<std::int32_t> req_pool_indices;  // [requests]
  BatchField<std::int64_t> seq_lens;          // [requests]
  std::vector<std::int64_t> seq_lens_cpu;     // [requests]
  BatchField<std::int32_t> encoder_lens;      // [requests]
  std::vector<std::int32_t> extend_seq_lens;  // [requests]
  std::vector<std::int32_t> prefix_lens;      // [requests]
  BatchField<float> topk_probs;               // [requests, k]
  BatchField<std::int64_t> topk_indices;      // [requests, k]
  BatchField<std::int32_t> accept_lens;       // [requests]
  std::int64_t batch_size = 0;
  std::int32_t num_tokens = 0;
  std::int64_t backend_fill = 1;  // what this attention backend wants in seq_lens

  static constexpr auto fields = dpgather::batch_fields(
      dpgather::token_field("input_ids", &SglangBatch::input_ids),
      dpgather::token_field("embeddings", &SglangBatch::embeddings, {.optional = true}),
      dpgather::token_field("out_cache_loc", &SglangBatch::out_cache_loc),
      dpgather::token_field("positions", &SglangBatch::positions),
      dpgather::token_field("mrope_positions", &SglangBatch::mrope_positions),
      dpgather::token_field("draft_hidden", &SglangBatch::draft_hidden, {.only = speculative}),
      dpgather::request_field("req_pool_indices", &SglangBatch::req_pool_indices),
      dpgather::request_field("seq_lens", &SglangBatch::seq_lens,
                              {.fill_from = &SglangBatch::backend_fill}),
      dpgather::request_field("seq_lens_cpu", &SglangBatch::seq_lens_cpu,
                              {.fill = 1, .fill_in = {{Forward::target_verify, 4}}}),
      dpgather::request_field("encoder_lens", &SglangBatch::encoder_lens),
      dpgather::request_field("extend_seq_lens", &SglangBatch::extend_seq_lens, {.only = prefill}),
      dpgather::request_field("prefix_lens", &SglangBatch::prefix_lens, {.only = prefill}),
      dpgather::request_field("topk_probs", &SglangBatch::topk_probs, {.only = speculative}),
      dpgather::request_field("topk_indices", &SglangBatch::topk_indices, {.only = speculative}),
      dpgather::request_field("accept_lens", &SglangBatch::accept_lens,
                              {.only = {Forward::draft_extend}}),
      dpgather::request_count("batch_size", &SglangBatch::batch_size),
      dpgather::token_count("num_tokens", &SglangBatch::num_tokens));
};

enum class Axis { token, request };

/// `f(member, member of other, axis, fill, used)` for each array field: the reference's table, by
/// hand.
template <class F>
void for_each_array(SglangBatch& batch, SglangBatch& other, Forward mode, F f) {
  const bool is_prefill = mode == Forward::extend || mode == Forward::mixed;
  const bool drafts = mode == Forward::draft_decode || mode == Forward::target_verify ||
                      mode == Forward::draft_extend;
  f(batch.input_ids, other.input_ids, Axis::token, 0, true);
  f(batch.embeddings, other.embeddings, Axis::token, 0.0f, true);
  f(batch.out_cache_loc, other.out_cache_loc, Axis::token, 0, true);
  f(batch.positions, other.positions, Axis::token, 0, true);
  f(batch.mrope_positions, other.mrope_positions, Axis::token, 0, true);
  f(batch.draft_hidden, other.draft_hidden, Axis::token, bf16(0.0f), drafts);
  f(batch.req_pool_indices, other.req_pool_indices, Axis::request, 0, true);
  f(batch.seq_lens, other.seq_lens, Axis::request, batch.backend_fill, true);
  f(batch.seq_lens_cpu, other.seq_lens_cpu, Axis::request, mode == Forward::target_verify ? 4 : 1,
    true);
  f(batch.encoder_lens, other.encoder_lens, Axis::request, 0, true);
  f(batch.extend_seq_lens, other.extend_seq_lens, Axis::request, 0, is_prefill);
  f(batch.prefix_lens, other.prefix_lens, Axis::request, 0, is_prefill);
  f(batch.topk_probs, other.topk_probs, Axis::request, 0.0f, drafts);
  f(batch.topk_indices, other.topk_indices, Axis::request, 0, drafts);
  f(batch.accept_lens, other.accept_lens, Axis::request, 0, mode == Forward::draft_extend);
}

/// Owns the memory of one SglangBatch; bytes beyond each len are all ones, a NaN in every floating
/// type.
class Memory {
 public:
  static constexpr std::int64_t hidden = 5;
  static constexpr std::int64_t top_k = 2;

  SglangBatch make(support::Random& random, Forward mode, dpgather::BatchLens lens,
                   dpgather::BatchLens capacity, std::int64_t backend_fill = 1) {
    blocks_.clear();
    SglangBatch batch;
    batch.backend_fill = backend_fill;
    batch.batch_size = lens.requests;
    batch.num_tokens = static_cast<std::int32_t>(lens.tokens);
    batch.embeddings.inner = batch.draft_hidden.inner = hidden;
    batch.topk_probs.inner = batch.topk_indices.inner = top_k;
    batch.mrope_positions.planes = 3;
    for_each_array(batch, batch, mode, [&](auto& field, auto&, Axis axis, auto, bool used) {
      // A field that the mode does not use has a len of its own.
      const std::int64_t len = axis == Axis::token ? lens.tokens : lens.requests;
      const std::int64_t room = axis == Axis::token ? capacity.tokens : capacity.requests;
      fill(field, used ? len : std::min<std::int64_t>(3, room), room, random);
    });
    return batch;
  }

  /// Every byte of every buffer.
  [[nodiscard]] std::vector<std::vector<unsigned char>> bytes() const { return blocks_; }

 private:
  template <class E>
  void fill(BatchField<E>& field, std::int64_t len, std::int64_t capacity,
            support::Random& random) {
    const std::int64_t gap = 2;  // between planes
    field.len = len;
    field.capacity = capacity;
    field.plane_stride = capacity * field.inner + gap;
    const auto size = static_cast<std::size_t>(field.planes * field.plane_stride) * sizeof(E);
    field.data = reinterpret_cast<E*>(blocks_.emplace_back(size, 0xFF).data());
    for (std::int64_t p = 0; p < field.planes; ++p)
      for (std::int64_t i = 0; i < len * field.inner; ++i)
        field.data[p * field.plane_stride + i] =
            static_cast<E>(static_cast<float>(random.between(0, 996)));
  }
  template <class E>
  void fill(std::vector<E>& field, std::int64_t len, std::int64_t capacity,
            support::Random& random) {
    field.reserve(static_cast<std::size_t>(capacity));
    for (std::int64_t i = 0; i < len; ++i) field.push_back(static_cast<E>(random.between(0, 996)));
  }

  std::vector<std::vector<unsigned char>> blocks_;
};

template <class E>
[[nodiscard]] bool same_bits(E a, E b) {
  return std::memcmp(&a, &b, sizeof(E)) == 0;
}
template <class E>
[[nodiscard]] std::int64_t rows(const BatchField<E>& field) {
  return field.len;
}
template <class E>
[[nodiscard]] std::int64_t rows(const std::vector<E>& field) {
  return static_cast<std::int64_t>(field.size());
}
template <class E>
[[nodiscard]] BatchField<const E> read(const BatchField<E>& f) {
  return {f.data, f.len, f.capacity, f.inner, f.planes, f.plane_stride};
}
template <class E>
[[nodiscard]] BatchField<const E> read(const std::vector<E>& f) {
  return {f.data(), rows(f), rows(f), 1, 1, 0};
}

/// Number of elements of `padded` that are not: `own` for its rows, then the fill up to `len`. A
/// wrong len counts as one.
template <class E, class Fill>
[[nodiscard]] int wrong_elements(BatchField<const E> own, BatchField<const E> padded,
                                 std::int64_t len, Fill fill) {
  if (padded.len != len || padded.inner != own.inner || padded.planes != own.planes) return 1;
  int wrong = 0;
  for (std::int64_t p = 0; p < own.planes; ++p)
    for (std::int64_t i = 0; i < len; ++i)
      for (std::int64_t j = 0; j < own.inner; ++j) {
        const E expected = i < own.len ? own.row(i, p)[j] : static_cast<E>(fill);
        wrong += same_bits(expected, padded.row(i, p)[j]) ? 0 : 1;
      }
  return wrong;
}

/// Over all fields that the mode uses: `own` are the rows before padding.
[[nodiscard]] inline int wrong_elements(SglangBatch& own, SglangBatch& padded, Forward mode,
                                        dpgather::BatchLens lens) {
  int wrong = 0;
  for_each_array(own, padded, mode, [&](auto& mine, auto& theirs, Axis axis, auto fill, bool used) {
    if (used)
      wrong += wrong_elements(read(mine), read(theirs),
                              axis == Axis::token ? lens.tokens : lens.requests, fill);
  });
  return wrong + (padded.batch_size != lens.requests) + (padded.num_tokens != lens.tokens);
}

/// Lens, pointers and counts of two batches are the same.
[[nodiscard]] inline bool same_views(SglangBatch& a, SglangBatch& b) {
  bool same = a.batch_size == b.batch_size && a.num_tokens == b.num_tokens;
  for_each_array(a, b, Forward::decode, [&](auto& x, auto& y, Axis, auto, bool) {
    same = same && rows(x) == rows(y) && read(x).inner == read(y).inner &&
           read(x).planes == read(y).planes && read(x).plane_stride == read(y).plane_stride;
  });
  return same;
}

/// A step that was agreed, as far as padding looks at it; this rank is the last.
class AgreedStep {
 public:
  AgreedStep(Forward own, Forward step, dpgather::BatchLens lens, std::int32_t width,
             int attn_tp = 1) {
    agreed_.index = 17;
    agreed_.layout = {.dp = 2, .attn_tp = attn_tp};
    agreed_.rank = 2 * attn_tp - 1;
    add_phase(own, step, lens, width);
  }
  void add_phase(Forward own, Forward step, dpgather::BatchLens lens, std::int32_t width) {
    const auto i = static_cast<std::size_t>(agreed_.phases++);
    agreed_.own_forward[i] = own;
    auto& phase = agreed_.phase[i];
    phase.forward = step;
    phase.width = width;
    phase.tokens = {1, lens.tokens};
    phase.requests = {1, lens.requests};
    phase.logits = {1, lens.requests};
  }
  [[nodiscard]] dpgather::Step step() const { return dpgather::Step(agreed_); }

 private:
  dpgather::detail::AgreedStep agreed_;
};

[[nodiscard]] inline dpgather::ShapeKey shape_of(Forward forward, std::int64_t local_len,
                                                 std::int32_t width = 1, bool is_static = true) {
  return {.local_len = local_len,
          .global_len = 2 * local_len,
          .forward = forward,
          .width = width,
          .is_static = is_static};
}

}  // namespace test
