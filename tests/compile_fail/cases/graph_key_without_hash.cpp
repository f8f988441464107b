// message: GraphKey
#include <dpgather/graph_cache.hpp>

struct Key {
  dpgather::ShapeKey shape;
  int variant;
  friend bool operator==(const Key&, const Key&) = default;
};
using Good = dpgather::GraphCache<dpgather::ShapeKey>;
using Bad = dpgather::GraphCache<Key>;  // wrong
