// The replay guard: a step whose counts exceed what a graph was captured for would be cut off.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/forward.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather::detail {

/// What a step needs of a shape: most token rows and most requests of one rank.
struct ReplayNeed {
  std::int64_t tokens;
  std::int64_t requests;
  Forward forward;
  std::int32_t width;
};

/// Throws CapacityError if the step has more rows than the shape, InvalidArgument if it is another
/// kind of step.
inline void check_fit(const ReplayNeed& need, const ShapeKey& shape, const ErrorContext& where) {
  const std::int64_t longest = std::max(need.tokens, need.requests * shape.width);
  require<CapacityError>(longest <= shape.local_len, where, "a rank has ", longest,
                         " rows, the graph was captured for ", shape.local_len);
  require(need.forward == shape.forward && need.width == shape.width, where, "the step is ",
          name(need.forward), " with width ", need.width, ", the graph is ", shape);
}

}  // namespace dpgather::detail
