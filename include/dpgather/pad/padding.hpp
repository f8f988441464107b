// Padding policies: the lens that a rank's batch is padded to.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <numeric>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/forward.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// Lens of a batch on its two axes.
struct BatchLens {
  std::int64_t tokens = 0;
  std::int64_t requests = 0;
  friend constexpr bool operator==(const BatchLens&, const BatchLens&) = default;
};

/// What a padding policy may look at.
struct PadInput {
  BatchLens own;    ///< rows this rank really has
  ShapeKey shape;   ///< what the step is launched with
  int attn_tp = 1;  ///< ranks that slice the padded token rows between them
};

template <class P>
concept PaddingPolicy = requires(const P& padding, const PadInput& input) {
  { padding(input) } -> std::same_as<BatchLens>;
};

/// Token rows to `shape.local_len`. Requests to rows / width, idle ranks too; in a step with
/// prefill every rank keeps its own requests, since its padding rows belong to none. If the width
/// does not divide the rows, they go up to the next common multiple of width and attention-TP size;
/// the gather takes the first `local_len` of them. A draft extend that is not captured may have
/// fewer tokens than requests * width: it then keeps all its requests.
struct PadToShape {
  [[nodiscard]] constexpr BatchLens operator()(const PadInput& input) const {
    const ShapeKey& shape = input.shape;
    if (is_prefill(shape.forward))
      return {.tokens = shape.local_len, .requests = input.own.requests};
    const std::int64_t multiple = std::lcm<std::int64_t>(shape.width, input.attn_tp);
    const std::int64_t rows =
        shape.local_len % shape.width == 0 ? shape.local_len : round_up(shape.local_len, multiple);
    std::int64_t requests = rows / shape.width;
    if (shape.forward == Forward::draft_extend && !shape.is_static)
      requests = std::max(requests, input.own.requests);
    return {.tokens = rows, .requests = requests};
  }
};

/// The batch as it is: for modes and engines that need no equal lens.
struct NoPadding {
  [[nodiscard]] constexpr BatchLens operator()(const PadInput& input) const { return input.own; }
};

static_assert(PaddingPolicy<PadToShape> && PaddingPolicy<NoPadding>);

/// The mode whose fills and fields a rank uses: an idle rank takes part in what the others do.
[[nodiscard]] constexpr Forward fill_mode(Forward own, Forward step) {
  return own == Forward::idle ? step : own;
}

/// One batch on its way from its own lens to the padded ones.
struct PadCounts {
  BatchLens own;
  BatchLens padded;
  Forward mode = Forward::idle;
  ErrorContext where;
};

/// Asks the policy, and refuses a shape or an answer that does not hold the rank's own rows.
template <PaddingPolicy Padding>
[[nodiscard]] PadCounts pad_counts(const Padding& padding, const PadInput& input,
                                   Forward own_forward, const ErrorContext& where) {
  const ShapeKey& shape = input.shape;
  require(
      shape.width >= 1 && shape.local_len >= 0 && shape.local_len <= max_rows && input.attn_tp >= 1,
      where, "shape ", shape, " with attn_tp ", input.attn_tp,
      ": width and attn_tp must be at least 1, local_len 0 to ", max_rows);
  require(input.own.tokens >= 0 && input.own.requests >= 0, where, "own counts are ",
          input.own.tokens, " tokens and ", input.own.requests, " requests, must not be negative");
  require(compatible(own_forward, shape.forward), where, "this rank's batch is ", name(own_forward),
          ", the shape is for ", name(shape.forward));
  const BatchLens padded = padding(input);
  require<CapacityError>(input.own.tokens <= padded.tokens, where, "this rank has ",
                         input.own.tokens, " tokens, shape ", shape, " holds ", padded.tokens);
  require<CapacityError>(input.own.requests <= padded.requests, where, "this rank has ",
                         input.own.requests, " requests, shape ", shape, " holds ",
                         padded.requests);
  return {input.own, padded, fill_mode(own_forward, shape.forward), where};
}

}  // namespace dpgather
