// message: Other
#include <vector>

#include <dpgather/padded_batch.hpp>

struct Batch {
  std::vector<int> ids;
};
struct Other {
  std::vector<int> ids;
  static constexpr auto fields = dpgather::batch_fields(  //
      dpgather::token_field("ids", &Batch::ids),          // wrong
      dpgather::token_field("ids", &Other::ids));
};
void pad(Other& batch, const dpgather::Step& step, const dpgather::ShapeKey& shape,
         dpgather::InPlace& storage) {
  const dpgather::PaddedBatch padded{batch, step, shape, storage};
}
