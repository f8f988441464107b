// Random batches: padded content is what an independent table says, and afterwards every byte is
// as before.
#include <cstdint>

#include <doctest/doctest.h>

#include "sglang_batch.hpp"
#include "support/seed.hpp"

namespace {

using namespace test;
using dpgather::BatchLens;
using dpgather::PaddedBatch;

struct Case {
  Forward own, step;
  std::int32_t width;
  int attn_tp;
  BatchLens lens, padded, room;
  std::int64_t local_len;
  std::int64_t backend_fill;
};

Case random_case(support::Random& random) {
  Case c{};
  c.step = static_cast<Forward>(random.between(0, dpgather::forward_count - 1));
  c.own = random.chance(25) ? Forward::idle : c.step;
  if (c.step == Forward::mixed && random.chance(40)) c.own = Forward::decode;
  const bool prefills = c.step == Forward::extend || c.step == Forward::mixed;
  const bool one_row = prefills || c.step == Forward::decode || c.step == Forward::idle;
  c.width = one_row ? 1 : static_cast<std::int32_t>(random.between(1, 5));
  c.attn_tp = static_cast<int>(random.between(1, 3));
  if (c.own != Forward::idle) {
    c.lens.requests = random.between(0, 9);
    c.lens.tokens = prefills && c.own != Forward::decode ? c.lens.requests * random.between(1, 6)
                                                         : c.lens.requests * c.width;
  }
  // Any multiple of attn_tp that holds the rows; the width need not divide it.
  c.local_len = c.lens.tokens + random.between(0, 12);
  while (c.local_len % c.attn_tp != 0) ++c.local_len;
  if (prefills) {
    c.padded = {c.local_len, c.lens.requests};
  } else {
    c.padded.tokens = c.local_len;
    if (c.padded.tokens % c.width != 0)
      while (c.padded.tokens % c.width != 0 || c.padded.tokens % c.attn_tp != 0) ++c.padded.tokens;
    c.padded.requests = c.padded.tokens / c.width;
  }
  c.room = {c.padded.tokens + random.between(0, 5), c.padded.requests + random.between(0, 5)};
  c.backend_fill = random.between(0, 3);
  return c;
}

}  // namespace

TEST_CASE("padding fills as the table says and restoring is the identity") {
  const auto seed = support::seed("padded_batch property", 20240917);
  support::Random random(seed);
  dpgather::InPlace storage;
  for (int round = 0; round < 3000; ++round) {
    const Case c = random_case(random);
    CAPTURE(round);
    const Forward mode = c.own == Forward::idle ? c.step : c.own;
    const std::uint64_t content = random.bits();
    support::Random first(content), second(content);
    Memory memory, twin;
    SglangBatch batch = memory.make(first, mode, c.lens, c.room, c.backend_fill);
    SglangBatch own = twin.make(second, mode, c.lens, c.room, c.backend_fill);
    const AgreedStep agreed(c.own, c.step, c.lens, c.width, c.attn_tp);
    const auto shape = shape_of(c.step, c.local_len, c.width);
    {
      PaddedBatch padded{batch, agreed.step(), shape, storage};
      REQUIRE(BatchLens{padded.tokens(), padded.requests()} == c.padded);
      REQUIRE(wrong_elements(own, batch, mode, c.padded) == 0);
    }
    REQUIRE(same_views(own, batch));
    REQUIRE(memory.bytes() == twin.bytes());
  }
}

TEST_CASE("static inputs hold what the table says after any sequence of steps") {
  const auto seed = support::seed("static inputs property", 7);
  support::Random random(seed);
  Memory shapes;
  support::Random any(1);
  SglangBatch prototype = shapes.make(any, Forward::decode, {0, 0}, {1, 1});
  dpgather::StaticInputs<SglangBatch> inputs({160, 160}, prototype);
  const void* ids = inputs.batch().input_ids.data;
  const void* lens = inputs.batch().seq_lens_cpu.data();
  for (int round = 0; round < 1000; ++round) {
    const Case c = random_case(random);
    CAPTURE(round);
    const Forward mode = c.own == Forward::idle ? c.step : c.own;
    const std::uint64_t content = random.bits();
    support::Random first(content), second(content);
    Memory memory, twin;
    // No room beyond its own rows is needed here.
    SglangBatch batch = memory.make(first, mode, c.lens, c.lens, c.backend_fill);
    SglangBatch own = twin.make(second, mode, c.lens, c.lens, c.backend_fill);
    const AgreedStep agreed(c.own, c.step, c.lens, c.width, c.attn_tp);
    PaddedBatch padded{batch, agreed.step(), shape_of(c.step, c.local_len, c.width), inputs};
    REQUIRE(wrong_elements(own, padded.batch(), mode, c.padded) == 0);
    REQUIRE(same_views(own, batch));
    REQUIRE(memory.bytes() == twin.bytes());
    REQUIRE(inputs.batch().input_ids.data == ids);
    REQUIRE(inputs.batch().seq_lens_cpu.data() == lens);
  }
}
