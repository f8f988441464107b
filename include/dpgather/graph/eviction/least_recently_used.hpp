// LeastRecentlyUsed: the graph that was replayed longest ago goes.
#pragma once

#include <cstdint>

#include <dpgather/core/hash.hpp>
#include <dpgather/graph/eviction/policy.hpp>

namespace dpgather {

/// A capture counts as a use.
struct LeastRecentlyUsed {
  static constexpr bool evicts = true;
  GraphBudget budget = {};

  void used(GraphUse&, std::uint64_t, std::uint64_t) const {}
  [[nodiscard]] bool goes_first(const GraphUse& a, const GraphUse& b, std::uint64_t) const {
    return a.last_use < b.last_use;
  }
  [[nodiscard]] std::uint64_t fingerprint() const {
    return Hash{}.add("LeastRecentlyUsed").add(budget.graphs).add(budget.bytes).value();
  }
};

static_assert(EvictionPolicy<LeastRecentlyUsed>);

}  // namespace dpgather
