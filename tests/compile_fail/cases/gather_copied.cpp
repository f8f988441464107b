// message: deleted
#include <dpgather/dp_gather.hpp>

using Gather = dpgather::DpGather<dpgather::MaxLen>;
Gather& same(Gather& gather) {
  return gather;
}
Gather copied(Gather& gather) {  // wrong
  return gather;                 // wrong
}  // wrong
