// message: Rows<(const )?float>
#include <dpgather/dp_gather.hpp>

void back(dpgather::DpGather<dpgather::MaxLen>& gather, const dpgather::ShapeKey& shape,
          dpgather::Rows<const float> rows, dpgather::Rows<float> out) {
  gather.reduce_scatter(shape, rows, out, {});
  gather.reduce_scatter(shape, rows, rows, {});  // wrong
}
