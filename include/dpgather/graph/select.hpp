// Which captured shape a step runs at, as a pure function of agreed facts.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <dpgather/core/hash.hpp>
#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/plan.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// Capture sizes in requests: `fit` for one rank's, `fit_sum` for the sum over ranks.
template <class S>
concept SizePolicy = requires(const S& sizes, std::int64_t n) {
  { sizes.fit(n) } -> std::same_as<std::optional<std::int64_t>>;
  { sizes.fit_sum(n) } -> std::same_as<std::int64_t>;
  { sizes.fingerprint() } -> std::same_as<std::uint64_t>;
};

struct Selection {
  ShapeKey shape;                          ///< static if `reason` is none
  EagerReason reason = EagerReason::none;  ///< why no graph can run
};

/// Capacity of the gather that the shape must fit, in rows.
struct ShapeLimits {
  std::int64_t local_rows = max_rows;
  std::int64_t global_rows = max_rows;
};

/// `input.counts` are rows of all DP ranks, `requests` is the most requests of one; `can_graph` is
/// the vote of all ranks; `transport` is what the mode takes in a captured step. MAX_LEN's global
/// len follows from the local one; SUM_LEN's is the size that holds the fullest FFN group. Source
/// of rule and sizes: SGLang's CUDA graph runner, see CaptureSizes.
template <SizePolicy Sizes>
[[nodiscard]] Selection select_shape(const PlanInput& input, std::int64_t requests, bool can_graph,
                                     std::optional<Transport> transport, const Sizes& sizes,
                                     const ShapeLimits& limits = {}) {
  if (is_prefill(input.forward)) return {{}, EagerReason::prefill};
  if (!can_graph) return {{}, EagerReason::vote};
  const std::int64_t longest = max(input.counts);
  if (longest == 0) return {{}, EagerReason::no_rows};
  if (!transport || !graph_safe(*transport)) return {{}, EagerReason::mode_not_capturable};
  const auto size = sizes.fit(std::max(requests, ceil_div(longest, input.width)));
  if (!size) return {{}, EagerReason::too_large};

  const std::int64_t align = input.alignment();
  const std::int64_t blocks = input.layout.group_dp();
  ShapeKey shape{.local_len = round_up(*size * input.width, align),
                 .transport = *transport,
                 .forward = input.forward,
                 .width = input.width,
                 .is_static = true};
  shape.global_len = shape.local_len * blocks;
  if (len_mode(*transport) == LenMode::sum_len) {
    std::int64_t fullest = 0;
    for (std::size_t first = 0; first < input.counts.size();
         first += static_cast<std::size_t>(blocks)) {
      std::int64_t rows = 0;
      for (const auto count : input.counts.subspan(first, static_cast<std::size_t>(blocks)))
        rows += round_up(count, align);
      fullest = std::max(fullest, rows);
    }
    const std::int64_t sum_size = sizes.fit_sum(ceil_div(fullest, input.width));
    shape.global_len = std::min(shape.global_len, round_up(sum_size * input.width, align));
  }
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
  const std::int64_t align = PlanInput{layout, {}, forward, width}.alignment();
  std::vector<ShapeKey> shapes;
  for (const std::int64_t size : sizes.values()) {
    const std::int64_t local_len = round_up(size * width, align);
    shapes.push_back({.local_len = local_len,
                      .global_len = local_len * layout.group_dp(),
                      .transport = Transport::max_len,
                      .forward = forward,
                      .width = width,
                      .is_static = true});
  }
  return shapes;
}

}  // namespace dpgather
