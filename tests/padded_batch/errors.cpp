// Bad input is one clear error, and nothing has changed.
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "sglang_batch.hpp"

namespace {

using namespace test;
using dpgather::BatchLens;
using dpgather::CapacityError;
using dpgather::InvalidArgument;
using dpgather::PaddedBatch;

/// A batch of 3 decode requests, and its twin that nobody touches.
struct Fixture {
  static constexpr BatchLens lens = {3, 3}, capacity = {12, 10};
  Memory memory, twin;
  SglangBatch batch, own;
  AgreedStep agreed{Forward::decode, Forward::decode, lens, 1};
  dpgather::InPlace storage;
  dpgather::StaticInputs<SglangBatch> inputs;

  Fixture() : batch(made(memory)), own(made(twin)), inputs(capacity, batch) {}
  static SglangBatch made(Memory& in) {
    support::Random random(1);
    return in.make(random, Forward::decode, lens, capacity);
  }

  template <class Error, class Storage>
  std::string refusal_in(Storage& in, const dpgather::ShapeKey& shape) {
    const SglangBatch before = batch;
    const auto bytes = memory.bytes();
    std::string text;
    try {
      PaddedBatch padded{batch, agreed.step(), shape, in};
    } catch (const Error& error) {
      text = error.what();
    }
    SglangBatch copy = before;
    CHECK(same_views(copy, batch));
    CHECK(memory.bytes() == bytes);
    return text;
  }
  template <class Error>
  std::string refusal(const dpgather::ShapeKey& shape) {
    const std::string text = refusal_in<Error>(storage, shape);
    CHECK(refusal_in<Error>(inputs, shape) == text);
    // The storages are free again.
    { const PaddedBatch again{own, agreed.step(), shape_of(Forward::decode, 4), storage}; }
    const PaddedBatch held{own, agreed.step(), shape_of(Forward::decode, 4), inputs};
    return text;
  }
};

bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a field without room is named, and no field has been touched") {
  Fixture f;
  const std::string text = f.refusal<CapacityError>(shape_of(Forward::decode, 11));
  CHECK(text ==
        "[rank 1, step 17, pad] field 6 'req_pool_indices' needs 11 rows, its capacity is "
        "10");
}

TEST_CASE("a field is padded up to its last row of room") {
  Fixture f;
  PaddedBatch padded{f.batch, f.agreed.step(), shape_of(Forward::decode, 10), f.storage};
  CHECK(f.batch.req_pool_indices.len == 10);
}

TEST_CASE("a vector without reserved room is a capacity error, it never reallocates") {
  Fixture f;
  f.batch.seq_lens_cpu = {1, 2, 3};
  f.batch.seq_lens_cpu.shrink_to_fit();
  const std::string text = f.refusal_in<CapacityError>(f.storage, shape_of(Forward::decode, 8));
  CHECK(has(text, "field 8 'seq_lens_cpu' needs 8 rows, its capacity is 3"));
}

TEST_CASE("own rows beyond the shape are refused") {
  Fixture f;
  const std::string text = f.refusal<CapacityError>(shape_of(Forward::decode, 2));
  CHECK(has(text, "this rank has 3 tokens"));
  CHECK(has(text, "holds 2"));
}

TEST_CASE("a field whose len is not what the rank posted is named with both numbers") {
  Fixture f;
  f.batch.positions.len = 4;
  const std::string text = f.refusal<InvalidArgument>(shape_of(Forward::decode, 8));
  CHECK(has(text, "field 3 'positions' has 4 rows, this rank posted 3 tokens"));
}

TEST_CASE("a batch size that is not what the rank posted is named") {
  Fixture f;
  f.batch.batch_size = 2;
  const std::string text = f.refusal<InvalidArgument>(shape_of(Forward::decode, 8));
  CHECK(has(text, "field 15 'batch_size' is 2, this rank posted 3 requests"));
}

TEST_CASE("views that cannot be true are refused") {
  Fixture f;
  const auto shape = shape_of(Forward::decode, 8);
  f.batch.mrope_positions.plane_stride = 11;
  CHECK(has(f.refusal<InvalidArgument>(shape), "plane_stride 11, 3 planes of capacity 12"));
  f.batch = f.own;
  f.batch.positions.data = nullptr;
  CHECK(has(f.refusal<InvalidArgument>(shape), "'positions' has no data but capacity 12"));
  f.batch = f.own;
  f.batch.positions.capacity = 2;
  CHECK(has(f.refusal<InvalidArgument>(shape), "'positions' has 3 rows and capacity 2"));
  f.batch = f.own;
  f.batch.embeddings.inner = 0;
  CHECK(has(f.refusal<InvalidArgument>(shape), "'embeddings' has 1 planes of rows of 0"));
}

TEST_CASE("static inputs refuse rows of another shape than they were made for") {
  Fixture f;
  f.batch.embeddings.inner = 4;
  const std::string text = f.refusal_in<InvalidArgument>(f.inputs, shape_of(Forward::decode, 8));
  CHECK(has(text,
            "'embeddings' has 1 planes of rows of 4 elements, StaticInputs was made for 1 "
            "of 5"));
}

TEST_CASE("a shape for another forward mode than the batch's is refused") {
  Fixture f;
  const std::string text = f.refusal<InvalidArgument>(shape_of(Forward::target_verify, 8, 4));
  CHECK(has(text, "this rank's batch is decode, the shape is for target_verify"));
}

TEST_CASE("a shape that makes no sense is refused") {
  Fixture f;
  CHECK(has(f.refusal<InvalidArgument>(shape_of(Forward::decode, 8, 0)), "width 0"));
  CHECK(has(f.refusal<InvalidArgument>(shape_of(Forward::decode, -1)), "local_len -1"));
}

TEST_CASE("a capturing stream is refused: a graph would bake this step's batch") {
  Fixture f;
  dpgather::Recording recording;
  using Options = dpgather::PadOptions<>;
  const auto pad = [&] {
    PaddedBatch padded{f.batch, f.agreed.step(), shape_of(Forward::decode, 8), f.inputs,
                       Options{.stream = dpgather::HostStream(recording)}};
  };
  CHECK_THROWS_AS(pad(), InvalidArgument);
  CHECK(recording.size() == 0);
}

TEST_CASE("one storage serves one padded batch at a time") {
  Fixture f;
  const auto shape = shape_of(Forward::decode, 8);
  PaddedBatch padded{f.own, f.agreed.step(), shape, f.storage};
  CHECK(has(f.refusal_in<InvalidArgument>(f.storage, shape), "InPlace is in use"));
  PaddedBatch held{f.batch, f.agreed.step(), shape, f.inputs};
  CHECK(has(f.refusal_in<InvalidArgument>(f.inputs, shape), "StaticInputs is in use"));
}

TEST_CASE("a batch that is padded already is refused, its lens are not its own") {
  Fixture f;
  const PaddedBatch padded{f.own, f.agreed.step(), shape_of(Forward::decode, 8), f.storage};
  dpgather::InPlace other;
  const auto pad = [&] {
    PaddedBatch again{f.own, f.agreed.step(), shape_of(Forward::decode, 8), other};
  };
  CHECK_THROWS_AS(pad(), InvalidArgument);
}

TEST_CASE("a phase that the step does not have is refused") {
  Fixture f;
  const auto pad = [&] {
    PaddedBatch padded{
        f.batch, f.agreed.step(), shape_of(Forward::decode, 8), f.storage, {.phase = 1}};
  };
  CHECK_THROWS_AS(pad(), InvalidArgument);
  CHECK(same_views(f.own, f.batch));
}
