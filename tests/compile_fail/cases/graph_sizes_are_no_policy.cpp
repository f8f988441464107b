// message: SizePolicy
#include <vector>

#include <dpgather/graph_cache.hpp>

using Good = dpgather::GraphCache<dpgather::ShapeKey, dpgather::CaptureSizes>;
using Bad = dpgather::GraphCache<dpgather::ShapeKey, std::vector<int>>;  // wrong
