// Which captured shape a step runs at, as a pure function of agreed facts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/plan.hpp>
#include <dpgather/plan/shape_key.hpp>
#include <dpgather/plan/size_policy.hpp>

namespace dpgather {

struct Selection {
  ShapeKey shape;                          ///< static if `reason` is none
  EagerReason reason = EagerReason::none;  ///< why no graph can run
};

/// Capacity of the gather that the shape must fit, in rows.
struct ShapeLimits {
  std::int64_t local_rows = max_rows;
  std::int64_t global_rows = max_rows;
};

namespace detail {
/// Aligned rows of the FFN group that has most.
[[nodiscard]] inline std::int64_t fullest_group(const PlanInput& input) {
  const auto blocks = static_cast<std::size_t>(input.layout.group_dp());
  std::int64_t fullest = 0;
  with_round_up(input.alignment(), [&](const auto& round) {
    for (std::size_t first = 0; first < input.counts.size(); first += blocks) {
      std::int64_t rows = 0;
      for (const auto count : input.counts.subspan(first, blocks)) rows += round(count);
      fullest = std::max(fullest, rows);
    }
  });
  return fullest;
}

/// The captured shape of a size.
[[nodiscard]] inline ShapeKey shape_at(const SizePair& size, Transport transport,
                                       const PlanInput& input) {
  const std::int64_t align = input.alignment();
  ShapeKey shape{.local_len = round_up(size.local * input.width, align),
                 .transport = transport,
                 .forward = input.forward,
                 .width = input.width,
                 .is_static = true};
  shape.global_len = shape.local_len * input.layout.group_dp();
  if (len_mode(transport) == LenMode::sum_len)
    shape.global_len = std::min(shape.global_len, round_up(size.global * input.width, align));
  return shape;
}

/// A step may still take `shape` at one of `pairs`.
[[nodiscard]] inline bool listed(const ShapeKey& shape, std::span<const SizePair> pairs,
                                 const DpLayout& layout) {
  const PlanInput input{layout, {}, shape.forward, shape.width};
  return std::any_of(pairs.begin(), pairs.end(), [&](const SizePair& pair) {
    return shape_at(pair, shape.transport, input) == shape;
  });
}
}  // namespace detail

/// What a step asks of a captured shape: requests of its longest rank (at least `requests`, the
/// most of one rank) and of its fullest FFN group. `input.counts` are rows of all DP ranks.
[[nodiscard]] inline SizePair needed_sizes(const PlanInput& input, std::int64_t requests) {
  return {std::max(requests, ceil_div(max(input.counts), input.width)),
          ceil_div(detail::fullest_group(input), input.width)};
}

/// `input.counts` are rows of all DP ranks, `requests` is the most requests of one; `can_graph` is
/// the vote of all ranks; `transport` is what the mode takes in a captured step. MAX_LEN's global
/// len follows from the local one; SUM_LEN takes a pair that holds the fullest FFN group. Source
/// of the rule: SGLang's CUDA graph runner, see CaptureSizes.
template <SizePolicy Sizes>
[[nodiscard]] Selection select_shape(const PlanInput& input, std::int64_t requests, bool can_graph,
                                     std::optional<Transport> transport, const Sizes& sizes,
                                     const ShapeLimits& limits = {}) {
  if (is_prefill(input.forward)) return {{}, EagerReason::prefill};
  if (!can_graph) return {{}, EagerReason::vote};
  const SizePair needed = needed_sizes(input, requests);
  if (needed.global == 0) return {{}, EagerReason::no_rows};
  if (!transport || !graph_safe(*transport)) return {{}, EagerReason::mode_not_capturable};
  const std::int64_t blocks = input.layout.group_dp();
  std::optional<SizePair> size;
  if (len_mode(*transport) == LenMode::sum_len)
    size = sizes.fit_pair(needed.local, needed.global);
  else if (const auto local = sizes.fit(needed.local))
    size = SizePair{*local, *local * blocks};
  if (!size) return {{}, EagerReason::too_large};

  const ShapeKey shape = detail::shape_at(*size, *transport, input);
  if (shape.local_len > limits.local_rows || shape.global_len > limits.global_rows)
    return {{}, EagerReason::too_large};
  return {shape, EagerReason::none};
}

/// Every MAX_LEN shape that `sizes` lists, for capturing all of them before serving.
template <class Sizes>
requires requires(const Sizes& sizes) {
  sizes.values();
}
[[nodiscard]] std::vector<ShapeKey> max_len_shapes(const Sizes& sizes, const DpLayout& layout,
                                                   Forward forward = Forward::decode,
                                                   std::int32_t width = 1) {
  std::vector<ShapeKey> shapes;
  for (const std::int64_t size : sizes.values())
    shapes.push_back(
        detail::shape_at({size, size}, Transport::max_len, {layout, {}, forward, width}));
  return shapes;
}

/// Every SUM_LEN shape that `sizes` lists, likewise.
template <class Sizes>
requires requires(const Sizes& sizes) {
  sizes.pairs();
}
[[nodiscard]] std::vector<ShapeKey> sum_len_shapes(const Sizes& sizes, const DpLayout& layout,
                                                   Transport transport,
                                                   Forward forward = Forward::decode,
                                                   std::int32_t width = 1) {
  std::vector<ShapeKey> shapes;
  for (const SizePair& pair : sizes.pairs())
    shapes.push_back(detail::shape_at(pair, transport, {layout, {}, forward, width}));
  return shapes;
}

}  // namespace dpgather
