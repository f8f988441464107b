// The reference's table of output rows.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/trim/trim_view.hpp>

namespace {
using dpgather::Forward;
using dpgather::Output;
using dpgather::OwnRows;
using dpgather::Rows;
}  // namespace

TEST_CASE("the rows kept are what the reference's table says for each forward mode") {
  struct Line {
    OwnRows own;
    std::int64_t by_mode, per_token, per_request;
  };
  for (const Line& line : std::vector<Line>{
           {{Forward::decode, 5, 5, 1}, 5, 5, 5},
           {{Forward::idle, 0, 0, 4}, 0, 0, 0},
           {{Forward::extend, 13, 2, 1}, 13, 13, 2},
           {{Forward::mixed, 14, 3, 1}, 14, 14, 3},
           {{Forward::draft_decode, 6, 3, 2}, 6, 6, 3},
           {{Forward::target_verify, 12, 3, 4}, 12, 12, 3},
           {{Forward::draft_extend, 12, 4, 3}, 4, 12, 4},
       }) {
    CAPTURE(name(line.own.forward));
    CHECK(output_rows(line.own) == line.by_mode);
    CHECK(output_rows(line.own, Output::per_token) == line.per_token);
    CHECK(output_rows(line.own, Output::per_request) == line.per_request);
  }
}

TEST_CASE("a trimmed view is the first rows, strided ones too, without a copy") {
  std::vector<float> data(20);
  const Rows<float> rows(data.data(), 4, 3, 5);
  const Rows<float> kept = dpgather::TrimView{}({Forward::decode, 2, 2, 1}, rows);
  CHECK(kept.data() == data.data());
  CHECK(kept.rows() == 2);
  CHECK(kept.width() == 3);
  CHECK(kept.stride() == 5);
  CHECK(dpgather::TrimView{}({Forward::idle, 0, 0, 1}, Rows<float>()).empty());
}
