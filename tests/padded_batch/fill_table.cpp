// The reference's table: axis and fill of every field, requests after padding, per forward mode.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "sglang_batch.hpp"

namespace {

using namespace test;
using dpgather::BatchLens;
using dpgather::PaddedBatch;

struct Row {
  Forward own, step;
  BatchLens lens;
  std::int32_t width;
  std::int64_t local_len;
  BatchLens padded;
};

const std::vector<Row> table = {
    {Forward::decode, Forward::decode, {5, 5}, 1, 8, {8, 8}},
    {Forward::idle, Forward::decode, {0, 0}, 1, 8, {8, 8}},
    {Forward::idle, Forward::target_verify, {0, 0}, 4, 16, {16, 4}},
    {Forward::idle, Forward::idle, {0, 0}, 1, 0, {0, 0}},
    {Forward::extend, Forward::extend, {13, 2}, 1, 32, {32, 2}},
    {Forward::mixed, Forward::mixed, {13, 4}, 1, 32, {32, 4}},
    {Forward::decode, Forward::mixed, {3, 3}, 1, 32, {32, 3}},
    {Forward::idle, Forward::extend, {0, 0}, 1, 32, {32, 0}},
    {Forward::draft_decode, Forward::draft_decode, {6, 3}, 2, 10, {10, 5}},
    {Forward::target_verify, Forward::target_verify, {12, 3}, 4, 20, {20, 5}},
    {Forward::draft_extend, Forward::draft_extend, {12, 4}, 3, 24, {24, 8}},
};

constexpr BatchLens capacity = {32, 32};

}  // namespace

TEST_CASE("every forward mode pads every field as the reference's table says") {
  for (const Row& row : table) {
    CAPTURE(name(row.own));
    CAPTURE(name(row.step));
    const Forward mode = row.own == Forward::idle ? row.step : row.own;
    for (const std::int64_t backend_fill : {1, 0, 7}) {
      Memory memory, twin;
      support::Random random(1), same(1);
      SglangBatch batch = memory.make(random, mode, row.lens, capacity, backend_fill);
      SglangBatch own = twin.make(same, mode, row.lens, capacity, backend_fill);
      const AgreedStep agreed(row.own, row.step, row.lens, row.width);
      const auto shape = shape_of(row.step, row.local_len, row.width);
      dpgather::InPlace storage;
      {
        PaddedBatch padded{batch, agreed.step(), shape, storage};
        CHECK(padded.mode() == mode);
        CHECK(padded.tokens() == row.padded.tokens);
        CHECK(padded.requests() == row.padded.requests);
        CHECK(&padded.batch() == &batch);
        CHECK(wrong_elements(own, batch, mode, row.padded) == 0);
      }
      CHECK(same_views(own, batch));
      CHECK(memory.bytes() == twin.bytes());

      dpgather::StaticInputs<SglangBatch> inputs(capacity, own);
      {
        PaddedBatch padded{batch, agreed.step(), shape, inputs};
        CHECK(wrong_elements(own, padded.batch(), mode, row.padded) == 0);
      }
      CHECK(same_views(own, batch));
      CHECK(memory.bytes() == twin.bytes());
    }
  }
}

TEST_CASE("a field outside its forward modes is left alone, whatever its len") {
  Memory memory;
  support::Random random(2);
  SglangBatch batch = memory.make(random, Forward::decode, {2, 2}, capacity);
  const AgreedStep agreed(Forward::decode, Forward::decode, {2, 2}, 1);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 4), storage};
  CHECK(batch.extend_seq_lens.size() == 3);
  CHECK(batch.draft_hidden.len == 3);
  CHECK(batch.accept_lens.len == 3);
}

TEST_CASE("padding rows that held NaN are exactly the fill") {
  Memory memory;
  support::Random random(3);
  SglangBatch batch = memory.make(random, Forward::decode, {1, 1}, capacity);
  const auto& field = batch.embeddings;
  REQUIRE(field.row(1)[0] != field.row(1)[0]);  // poisoned
  const AgreedStep agreed(Forward::decode, Forward::decode, {1, 1}, 1);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 8), storage};
  for (std::int64_t i = 1; i < 8; ++i)
    for (std::int64_t j = 0; j < Memory::hidden; ++j)
      CHECK(same_bits(batch.embeddings.row(i)[j], 0.0f));
  CHECK(field.row(8)[0] != field.row(8)[0]);  // not a row further
}

TEST_CASE("mrope positions are padded on their second axis, in each plane") {
  std::vector<std::int64_t> positions(3 * 6, 9);
  SglangBatch batch;
  Memory memory;
  support::Random random(4);
  batch = memory.make(random, Forward::decode, {2, 2}, {6, 6});
  batch.mrope_positions = {
      .data = positions.data(), .len = 2, .capacity = 6, .planes = 3, .plane_stride = 6};
  const AgreedStep agreed(Forward::decode, Forward::decode, {2, 2}, 1);
  dpgather::InPlace storage;
  {
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 4), storage};
    CHECK(positions ==
          std::vector<std::int64_t>{9, 9, 0, 0, 9, 9, 9, 9, 0, 0, 9, 9, 9, 9, 0, 0, 9, 9});
  }
  CHECK(positions == std::vector<std::int64_t>(18, 9));
}

TEST_CASE("without padding the batch is what it was") {
  Memory memory, twin;
  support::Random random(5), same(5);
  SglangBatch batch = memory.make(random, Forward::extend, {7, 2}, capacity);
  SglangBatch own = twin.make(same, Forward::extend, {7, 2}, capacity);
  const AgreedStep agreed(Forward::extend, Forward::extend, {7, 2}, 1);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::extend, 32, 1, false), storage,
                     dpgather::PadOptions<dpgather::NoPadding>{}};
  CHECK(padded.tokens() == 7);
  CHECK(same_views(own, batch));
  CHECK(memory.bytes() == twin.bytes());
}
