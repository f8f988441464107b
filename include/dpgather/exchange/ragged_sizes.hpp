// Sizes in elements of a v-collective, kept between steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dpgather::detail {

/// One per rank of the collective.
struct RaggedSizes {
  explicit RaggedSizes(std::size_t ranks) : counts(ranks), offsets(ranks) {}
  std::vector<std::int64_t> counts, offsets;
};

}  // namespace dpgather::detail
