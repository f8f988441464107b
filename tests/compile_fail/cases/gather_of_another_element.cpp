// message: Rows<(double|const float)>
#include <dpgather/dp_gather.hpp>

void gather(dpgather::DpGather<dpgather::MaxLen>& gather, const dpgather::ShapeKey& shape) {
  gather.gather(shape, dpgather::Rows<float>(), {});
  gather.gather(shape, dpgather::Rows<double>(), {});  // wrong
}
