// message: EvictionPolicy
#include <cstdint>

#include <dpgather/graph_cache.hpp>

struct Policy {
  static constexpr bool evicts = false;
  [[nodiscard]] std::uint64_t fingerprint() const { return 1; }
};
using Sizes = dpgather::CaptureSizes;
using Good = dpgather::GraphCache<dpgather::ShapeKey, Sizes, dpgather::LeastRecentlyUsed>;
using Bad = dpgather::GraphCache<dpgather::ShapeKey, Sizes, Policy>;  // wrong
