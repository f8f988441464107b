// message: PaddedBatch changes the batch for a while
#include <vector>

#include <dpgather/padded_batch.hpp>

struct Batch {
  std::vector<int> ids;
  static constexpr auto fields = dpgather::batch_fields(dpgather::token_field("ids", &Batch::ids));
};

std::int64_t good(dpgather::PaddedBatch<Batch>& padded) {
  return padded.tokens();
}
std::int64_t bad(dpgather::PaddedBatch<const Batch>& padded) {  // wrong
  return padded.tokens();                                       // wrong
}  // wrong
