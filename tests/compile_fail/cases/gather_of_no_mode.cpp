// message: GatherMode
#include <dpgather/dp_gather.hpp>

using Good = dpgather::DpGather<dpgather::MaxLen>;
using Bad = dpgather::DpGather<dpgather::VolumeRule>;  // wrong
