// message: Element
#include <dpgather/dp_gather.hpp>

using Good = dpgather::DpGather<dpgather::MaxLen, dpgather::bf16>;
using Bad = dpgather::DpGather<dpgather::MaxLen, char>;  // wrong
