// message: list the batch's fields once
#include <vector>

#include <dpgather/padded_batch.hpp>

struct Batch {
  std::vector<int> ids;
  static constexpr auto fields = dpgather::batch_fields(dpgather::token_field("ids", &Batch::ids));
};

struct Silent {
  std::vector<int> ids;
};
std::int64_t good(dpgather::PaddedBatch<Batch>& padded) {
  return padded.tokens();
}
std::int64_t bad(dpgather::PaddedBatch<Silent>& padded) {  // wrong
  return padded.tokens();                                  // wrong
}  // wrong
