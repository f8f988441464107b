// KeepAll: what is captured stays.
#pragma once

#include <cstdint>

#include <dpgather/core/hash.hpp>
#include <dpgather/graph/eviction/policy.hpp>

namespace dpgather {

/// Nothing is ever dropped. With a budget, who comes first is served: the key of a graph that does
/// not fit any more stays eager.
struct KeepAll {
  static constexpr bool evicts = false;
  GraphBudget budget = {};

  [[nodiscard]] std::uint64_t fingerprint() const {
    return Hash{}.add("KeepAll").add(budget.graphs).add(budget.bytes).value();
  }
};

static_assert(EvictionPolicy<KeepAll>);

}  // namespace dpgather
