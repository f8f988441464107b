// message: a batch has at least one field
#include <vector>

#include <dpgather/pad/fields.hpp>

struct Batch {
  std::vector<int> ids;
  static constexpr auto fields = dpgather::batch_fields(dpgather::token_field("ids", &Batch::ids));
};

constexpr auto none = dpgather::batch_fields();  // wrong
