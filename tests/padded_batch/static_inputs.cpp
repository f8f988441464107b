// StaticInputs: what a captured graph reads.
#include <cstdint>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

#include "sglang_batch.hpp"

namespace {

using namespace test;
using dpgather::BatchLens;
using dpgather::HostStream;
using dpgather::PaddedBatch;
using dpgather::StaticInputs;

struct Batch {
  BatchField<std::int32_t> ids;
  std::vector<std::int32_t> seq_lens;
  BatchField<float> bias;
  std::int64_t batch_size = 0;
  const char* adapter = "";
  int unlisted = 0;

  static constexpr auto fields =
      dpgather::batch_fields(dpgather::token_field("ids", &Batch::ids),
                             dpgather::request_field("seq_lens", &Batch::seq_lens, {.fill = 1}),
                             dpgather::token_field("bias", &Batch::bias, {.optional = true}),
                             dpgather::request_count("batch_size", &Batch::batch_size),
                             dpgather::carried_field("adapter", &Batch::adapter));
};

AgreedStep decode(std::int64_t n) {
  return {n == 0 ? Forward::idle : Forward::decode, Forward::decode, {n, n}, 1};
}

}  // namespace

TEST_CASE("a recording replays over each step's rows, from batches allocated anew") {
  StaticInputs<Batch> inputs(BatchLens{8, 8});
  const auto shape = shape_of(Forward::decode, 4);
  dpgather::Recording recording;
  std::int64_t total = 0;
  {
    const HostStream capture(recording);
    inputs.hold(capture);
    capture.submit("sum", [&total, ids = inputs.batch().ids.data,
                           lens = inputs.batch().seq_lens.data(), rows = shape.local_len] {
      total = 0;
      for (std::int64_t i = 0; i < rows; ++i) total += 1000 * ids[i] + lens[i];
    });
  }
  for (const std::int32_t n : {3, 1, 4, 0, 2}) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(n), n);
    Batch batch{{.data = ids.data(), .len = n, .capacity = n}, {}, {}, n};
    batch.seq_lens.assign(static_cast<std::size_t>(n), 7);
    const auto agreed = decode(n);
    PaddedBatch padded{batch, agreed.step(), shape, inputs};
    recording.replay();
    CHECK(total == 1000 * n * n + 7 * n + (4 - n));  // seq_lens of padding requests are 1
  }
}

TEST_CASE("addresses never change, and the caller's batch is only read") {
  StaticInputs<Batch> inputs(BatchLens{8, 8});
  Batch* held = &inputs.batch();
  const auto* ids = held->ids.data;
  const auto* lens = held->seq_lens.data();
  CHECK(held->ids.len == 0);
  CHECK(held->ids.capacity == 8);
  for (const std::int32_t n : {1, 8, 0, 5}) {
    const std::vector<std::int32_t> content(static_cast<std::size_t>(n), n);
    std::vector<std::int32_t> memory = content;
    Batch batch{{.data = memory.data(), .len = n, .capacity = n}, memory, {}, n, "lora", 3};
    const auto agreed = decode(n);
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 8), inputs};
    CHECK(&padded.batch() == held);
    CHECK(held->ids.data == ids);
    CHECK(held->seq_lens.data() == lens);
    CHECK(held->ids.len == 8);
    CHECK(held->seq_lens.size() == 8);
    CHECK(held->batch_size == 8);
    padded.batch().ids.data[0] = 99;  // not the caller's
    CHECK(memory == content);
    CHECK(batch.seq_lens == content);
    CHECK(batch.batch_size == n);
  }
}

TEST_CASE("members without an axis are carried over, unlisted ones stay the prototype's") {
  Batch prototype;
  prototype.unlisted = 5;
  StaticInputs<Batch> inputs({8, 8}, prototype);
  Batch batch;
  batch.adapter = "lora";
  batch.unlisted = 6;
  const auto agreed = decode(0);
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 2), inputs};
  CHECK(padded.batch().adapter == batch.adapter);
  CHECK(padded.batch().unlisted == 5);
}

TEST_CASE("an idle rank without buffers gets a full batch of fills") {
  StaticInputs<Batch> inputs(BatchLens{8, 8});
  Batch batch;
  const auto agreed = decode(0);
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 4), inputs};
  CHECK(padded.batch().ids.len == 4);
  CHECK(padded.batch().ids.data[3] == 0);
  CHECK(padded.batch().bias.len == 4);
  CHECK(padded.batch().bias.data[3] == 0.0f);
  CHECK(padded.batch().seq_lens == std::vector<std::int32_t>(4, 1));
}

TEST_CASE("an optional field that is absent has no rows") {
  StaticInputs<Batch> inputs(BatchLens{8, 8});
  std::vector<std::int32_t> ids = {1};
  Batch batch{{.data = ids.data(), .len = 1, .capacity = 1}, {5}, {}, 1};
  const auto agreed = decode(1);
  PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 4), inputs};
  CHECK(padded.batch().bias.len == 0);
  CHECK(padded.batch().ids.len == 4);
}

TEST_CASE("lens above the largest are refused by number") {
  StaticInputs<Batch> inputs(BatchLens{4, 4});
  Batch batch;
  const auto agreed = decode(0);
  const auto pad = [&] {
    PaddedBatch padded{batch, agreed.step(), shape_of(Forward::decode, 5), inputs};
  };
  CHECK_THROWS_WITH_AS(pad(),
                       "[rank 1, step 17, pad] field 0 'ids' needs 5 rows, its capacity is 4",
                       dpgather::CapacityError);
  CHECK_THROWS_AS(StaticInputs<Batch>(BatchLens{-1, 4}), dpgather::InvalidArgument);
  Batch flat;
  flat.bias.inner = 0;
  CHECK_THROWS_AS(StaticInputs<Batch>({1, 1}, flat), dpgather::InvalidArgument);
}

TEST_CASE("the held batch cannot be padded into itself") {
  StaticInputs<Batch> inputs(BatchLens{4, 4});
  const auto agreed = decode(0);
  const auto pad = [&] {
    PaddedBatch padded{inputs.batch(), agreed.step(), shape_of(Forward::decode, 2), inputs};
  };
  CHECK_THROWS_AS(pad(), dpgather::InvalidArgument);
}

TEST_CASE("a recording over static inputs that are gone refuses to replay") {
  dpgather::Recording recording;
  static thread_local int reports = 0;
  const auto handler = dpgather::destructor_error_handler();
  dpgather::destructor_error_handler() = +[](const char*) noexcept { ++reports; };
  {
    StaticInputs<Batch> inputs(BatchLens{4, 4});
    inputs.hold(HostStream(recording));
  }
  dpgather::destructor_error_handler() = handler;
  CHECK(reports == 1);
  CHECK_THROWS_AS(recording.replay(), dpgather::GraphError);
}
