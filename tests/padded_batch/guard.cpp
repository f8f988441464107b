// What the guard does besides padding: restores on every path, phases, policies, no allocation.
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include "sglang_batch.hpp"
#include "support/allocations.hpp"

namespace {

using namespace test;
using dpgather::BatchLens;
using dpgather::PaddedBatch;

constexpr BatchLens capacity = {16, 16};

/// As an engine would write it.
struct SmallBatch {
  BatchField<std::int32_t> input_ids;  // [tokens]
  std::vector<std::int32_t> seq_lens;  // [requests]
  std::int64_t batch_size = 0;

  static constexpr auto fields = dpgather::batch_fields(
      dpgather::token_field("input_ids", &SmallBatch::input_ids),
      dpgather::request_field("seq_lens", &SmallBatch::seq_lens, {.fill = 1}),
      dpgather::request_count("batch_size", &SmallBatch::batch_size));
};

struct SharedBatch {
  BatchField<std::int32_t> a, b;
  static constexpr auto fields =
      dpgather::batch_fields(dpgather::token_field("a", &SharedBatch::a, {.fill = 5}),
                             dpgather::token_field("b", &SharedBatch::b, {.fill = 6}));
};

/// Somebody else's struct, described from outside.
struct ForeignBatch {
  std::vector<std::int64_t> ids;
};

/// A policy of a user's own: one row more than there is.
struct OneMore {
  BatchLens operator()(const dpgather::PadInput& input) const {
    return {input.own.tokens + 1, input.own.requests + 1};
  }
};

}  // namespace

template <>
struct dpgather::BatchFields<ForeignBatch> {
  static constexpr auto fields = batch_fields(token_field("ids", &ForeignBatch::ids, {.fill = -1}));
};

static_assert(!std::is_copy_constructible_v<PaddedBatch<SmallBatch>>);
static_assert(!std::is_move_constructible_v<PaddedBatch<SmallBatch>>);
static_assert(!std::is_copy_assignable_v<PaddedBatch<SmallBatch>>);
static_assert(std::is_nothrow_destructible_v<PaddedBatch<SmallBatch>>);

TEST_CASE("an exception while the batch is padded restores it") {
  Memory memory, twin;
  support::Random random(1), same(1);
  SglangBatch batch = memory.make(random, Forward::decode, {3, 3}, capacity);
  SglangBatch own = twin.make(same, Forward::decode, {3, 3}, capacity);
  const AgreedStep agreed(Forward::decode, Forward::decode, {3, 3}, 1);
  dpgather::InPlace storage;
  const auto model = [&] {
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 8), storage};
    CHECK(!same_views(own, batch));
    throw std::runtime_error("out of memory");
  };
  CHECK_THROWS_AS(model(), std::runtime_error);
  CHECK(same_views(own, batch));
  CHECK(memory.bytes() == twin.bytes());
  const PaddedBatch again{batch, agreed.step(), shape_of(Forward::decode, 8),
                          storage};  // free again
}

TEST_CASE("own rows keep what the model wrote, padding rows and views come back") {
  std::vector<std::int32_t> ids = {1, 2, 3, 40, 50, 60}, other = {0, 0, 0, 0, 0, 0};
  SmallBatch batch{{.data = ids.data(), .len = 3, .capacity = 6}, {4, 5, 6}, 3};
  batch.seq_lens.reserve(6);
  const auto* address = batch.seq_lens.data();
  const AgreedStep agreed(Forward::decode, Forward::decode, {3, 3}, 1);
  dpgather::InPlace storage;
  {
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 6), storage};
    CHECK(ids == std::vector<std::int32_t>{1, 2, 3, 0, 0, 0});
    CHECK(batch.seq_lens == std::vector<std::int32_t>{4, 5, 6, 1, 1, 1});
    CHECK(batch.seq_lens.data() == address);
    CHECK(batch.batch_size == 6);
    for (auto& id : ids) id += 100;
    for (auto& len : batch.seq_lens) ++len;
    batch.input_ids.data = other.data();
    batch.input_ids.len = 1;
    batch.batch_size = -1;
  }
  CHECK(ids == std::vector<std::int32_t>{101, 102, 103, 40, 50, 60});
  CHECK(batch.seq_lens == std::vector<std::int32_t>{5, 6, 7});
  CHECK(batch.seq_lens.data() == address);
  CHECK(batch.input_ids.data == ids.data());
  CHECK(batch.input_ids.len == 3);
  CHECK(batch.batch_size == 3);
}

TEST_CASE("two fields over the same memory come back as they were") {
  std::vector<std::int32_t> memory = {1, 20, 30, 40};
  SharedBatch batch{{.data = memory.data(), .len = 1, .capacity = 4},
                    {.data = memory.data(), .len = 1, .capacity = 4}};
  const AgreedStep agreed(Forward::decode, Forward::decode, {1, 1}, 1);
  dpgather::InPlace storage;
  {
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 3), storage};
    CHECK(memory == std::vector<std::int32_t>{1, 6, 6, 40});
  }
  CHECK(memory == std::vector<std::int32_t>{1, 20, 30, 40});
}

TEST_CASE("a struct that is not the user's own is described from outside") {
  ForeignBatch batch{{7}};
  batch.ids.reserve(4);
  const AgreedStep agreed(Forward::decode, Forward::decode, {1, 1}, 1);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 4), storage};
  CHECK(batch.ids == std::vector<std::int64_t>{7, -1, -1, -1});
}

TEST_CASE("each phase of a step is padded by its own counts") {
  AgreedStep agreed(Forward::decode, Forward::decode, {2, 2}, 1);
  agreed.add_phase(Forward::target_verify, Forward::target_verify, {6, 2}, 3);
  Memory memory, twin;
  support::Random random(1), same(1);
  SglangBatch batch = memory.make(random, Forward::target_verify, {6, 2}, capacity);
  SglangBatch own = twin.make(same, Forward::target_verify, {6, 2}, capacity);
  dpgather::InPlace storage;
  PaddedBatch padded{
      batch, agreed.step(), shape_of(Forward::target_verify, 12, 3), storage, {.phase = 1}};
  CHECK(padded.own_tokens() == 6);
  CHECK(padded.own_requests() == 2);
  CHECK(wrong_elements(own, batch, Forward::target_verify, {12, 4}) == 0);
}

TEST_CASE("a padding policy of the user's own decides the lens") {
  SmallBatch batch{{}, {4}, 1};
  std::vector<std::int32_t> ids = {1, 2};
  batch.input_ids = {.data = ids.data(), .len = 1, .capacity = 2};
  batch.seq_lens.reserve(2);
  const AgreedStep agreed(Forward::decode, Forward::decode, {1, 1}, 1);
  dpgather::InPlace storage;
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 2), storage,
                     dpgather::PadOptions<OneMore>{}};
  CHECK(batch.input_ids.len == 2);
  CHECK(batch.seq_lens == std::vector<std::int32_t>{4, 1});
}

TEST_CASE("a width that does not divide the padded rows goes to the next common multiple") {
  for (const int attn_tp : {1, 2, 4}) {
    const std::int64_t rows = attn_tp == 4 ? 24 : (attn_tp == 2 ? 18 : 15);
    const std::int64_t local_len = attn_tp == 4 ? 16 : 14;  // a multiple of attn_tp, not of 3
    Memory memory, twin;
    support::Random random(1), same(1);
    const BatchLens room = {24, 8}, lens = {6, 2};
    SglangBatch batch = memory.make(random, Forward::target_verify, lens, room);
    SglangBatch own = twin.make(same, Forward::target_verify, lens, room);
    const AgreedStep agreed(Forward::target_verify, Forward::target_verify, lens, 3, attn_tp);
    dpgather::InPlace storage;
    {
      PaddedBatch padded{batch, agreed.step(), shape_of(Forward::target_verify, local_len, 3),
                         storage};
      CHECK(padded.tokens() == rows);
      CHECK(padded.requests() == rows / 3);
      CHECK(wrong_elements(own, batch, Forward::target_verify, {rows, rows / 3}) == 0);
      CHECK(padded.output_rows() == 6);
    }
    CHECK(memory.bytes() == twin.bytes());
  }
}

TEST_CASE("an idle rank with buffers and no rows pads to the full shape") {
  std::vector<std::int32_t> ids(8, -5);
  SmallBatch batch{{.data = ids.data(), .len = 0, .capacity = 8}, {}, 0};
  batch.seq_lens.reserve(8);
  const AgreedStep agreed(Forward::idle, Forward::decode, {0, 0}, 1);
  dpgather::InPlace storage;
  {
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 8), storage};
    CHECK(ids == std::vector<std::int32_t>(8, 0));
    CHECK(batch.seq_lens == std::vector<std::int32_t>(8, 1));
    CHECK(padded.mode() == Forward::decode);
    CHECK(padded.output_rows() == 0);
  }
  CHECK(ids == std::vector<std::int32_t>(8, -5));
  CHECK(batch.seq_lens.empty());
}

TEST_CASE("a steady-state step allocates nothing, in place or into static inputs") {
  Memory memory;
  support::Random random(1);
  SglangBatch batch = memory.make(random, Forward::decode, {3, 3}, capacity);
  const AgreedStep agreed(Forward::decode, Forward::decode, {3, 3}, 1);
  const auto shape = shape_of(Forward::decode, 16);
  dpgather::InPlace storage;
  const auto in_place = [&] { PaddedBatch padded{batch, agreed.step(), shape, storage}; };
  const auto before_first = support::allocations_of_this_thread();
  in_place();
  CHECK(support::allocations_of_this_thread() > before_first);  // the scratch

  dpgather::StaticInputs<SglangBatch> inputs(capacity, batch);
  const auto before = support::allocations_of_this_thread();
  for (int i = 0; i < 10; ++i) {
    in_place();
    PaddedBatch padded{batch, agreed.step(), shape, inputs};
  }
  CHECK(support::allocations_of_this_thread() == before);
  CHECK(storage.scratch_bytes() > 0);
}

TEST_CASE("scratch that is reserved up front makes the first step free of allocations too") {
  std::vector<std::int32_t> ids(8);
  SmallBatch batch{{.data = ids.data(), .len = 1, .capacity = 8}, {1}, 1};
  batch.seq_lens.reserve(8);
  const AgreedStep agreed(Forward::decode, Forward::decode, {1, 1}, 1);
  dpgather::InPlace storage(8 * 4);
  const auto before = support::allocations_of_this_thread();
  { PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 8), storage}; }
  CHECK(support::allocations_of_this_thread() == before);
}
