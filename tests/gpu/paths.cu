// One translation unit of these, since each of them instantiates the same gathers for a device, which
// is most of what compiling them costs.
#include "gpu/graphs.cu"
#include "gpu/passenger.cu"
#include "gpu/whole_path.cu"
