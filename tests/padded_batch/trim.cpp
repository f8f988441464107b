// padded.trim: the original counts, never padded ones.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "sglang_batch.hpp"

namespace {

using namespace test;
using dpgather::BatchLens;
using dpgather::Output;
using dpgather::PaddedBatch;
using dpgather::Rows;

struct Ids {
  std::vector<std::int32_t> ids;
  static constexpr auto fields = dpgather::batch_fields(dpgather::token_field("ids", &Ids::ids));
};

Ids with(std::int64_t tokens) {
  Ids made;
  made.ids.reserve(64);
  made.ids.resize(static_cast<std::size_t>(tokens));
  return made;
}

}  // namespace

TEST_CASE("trim keeps the rows that the forward mode's table says") {
  struct Line {
    Forward own, step;
    BatchLens lens;
    std::int32_t width;
    std::int64_t kept, per_request;
  };
  for (const Line& line : std::vector<Line>{
           {Forward::decode, Forward::decode, {5, 5}, 1, 5, 5},
           {Forward::idle, Forward::decode, {0, 0}, 1, 0, 0},
           {Forward::extend, Forward::extend, {13, 2}, 1, 13, 2},
           {Forward::mixed, Forward::mixed, {14, 3}, 1, 14, 3},
           {Forward::decode, Forward::mixed, {4, 4}, 1, 4, 4},
           {Forward::draft_decode, Forward::draft_decode, {6, 3}, 2, 6, 3},
           {Forward::target_verify, Forward::target_verify, {12, 3}, 4, 12, 3},
           {Forward::draft_extend, Forward::draft_extend, {12, 4}, 3, 4, 4},
           {Forward::idle, Forward::target_verify, {0, 0}, 4, 0, 0},
       }) {
    CAPTURE(name(line.own));
    Ids batch = with(line.lens.tokens);
    const AgreedStep agreed(line.own, line.step, line.lens, line.width);
    dpgather::InPlace storage;
    PaddedBatch padded{batch, agreed.step(), shape_of(line.step, 24, line.width), storage};
    std::vector<float> logits(24 * 3);
    const Rows<float> all(logits.data(), 24, 3);
    CHECK(padded.trim(all).rows() == line.kept);
    CHECK(padded.trim(all).data() == logits.data());
    CHECK(padded.trim(all).width() == 3);
    CHECK(padded.trim(all, Output::per_request).rows() == line.per_request);
    CHECK(padded.trim(all, Output::per_token).rows() == line.lens.tokens);
    CHECK(padded.output_rows() == line.kept);
    const Rows<const float> constant = padded.trim(Rows<const float>(all));
    CHECK(constant.rows() == line.kept);
  }
}

TEST_CASE("an output shorter than the rank's own rows is refused") {
  Ids batch = with(5);
  const AgreedStep agreed(Forward::decode, Forward::decode, {5, 5}, 1);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 8), storage};
  std::vector<float> logits(4);
  CHECK_THROWS_WITH_AS((void)padded.trim(Rows<float>(logits.data(), 4, 1)),
                       "[rank 1, step 17, trim] output has 4 rows, 5 of this rank are to be kept",
                       dpgather::InvalidArgument);
}

TEST_CASE("accepted draft rows are compacted out of their padded slots") {
  Ids batch = with(9);
  const AgreedStep agreed(Forward::draft_extend, Forward::draft_extend, {9, 3}, 3);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::draft_extend, 12, 3), storage,
                     dpgather::PadOptions<dpgather::PadToShape, dpgather::TrimCompact>{}};
  std::vector<float> slots, out(5, -1.0f);
  for (int i = 0; i < 12; ++i) slots.push_back(static_cast<float>(i));
  const std::vector<std::int32_t> accepted = {2, 0, 1};
  const auto dense =
      padded.trim(Rows<float>(slots.data(), 12, 1), accepted, Rows<float>(out.data(), 5, 1));
  CHECK(dense.rows() == 3);
  CHECK(out == std::vector<float>{0, 1, 6, -1, -1});
  CHECK(padded.trim(Rows<float>(slots.data(), 12, 1)).rows() == 3);  // and trims without a copy
}
