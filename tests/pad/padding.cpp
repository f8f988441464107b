// Lens that a shape asks for.
#include <cstdint>
#include <numeric>

#include <doctest/doctest.h>

#include <dpgather/pad/padding.hpp>

namespace {

using dpgather::BatchLens;
using dpgather::Forward;
using dpgather::NoPadding;
using dpgather::PadInput;
using dpgather::PadToShape;
using dpgather::ShapeKey;

BatchLens lens(Forward forward, BatchLens own, std::int64_t local_len, std::int32_t width,
               int attn_tp = 1, bool is_static = true) {
  return PadToShape{}({.own = own,
                       .shape = {.local_len = local_len,
                                 .forward = forward,
                                 .width = width,
                                 .is_static = is_static},
                       .attn_tp = attn_tp});
}

struct Shorter {
  BatchLens operator()(const PadInput& input) const {
    return {input.own.tokens, input.own.requests - 1};
  }
};

}  // namespace

TEST_CASE("modes of a fixed width get rows / width requests, prefill keeps its own") {
  CHECK(lens(Forward::decode, {3, 3}, 8, 1) == BatchLens{8, 8});
  CHECK(lens(Forward::idle, {0, 0}, 8, 2) == BatchLens{8, 4});
  CHECK(lens(Forward::draft_decode, {4, 1}, 8, 4) == BatchLens{8, 2});
  CHECK(lens(Forward::target_verify, {4, 1}, 12, 4) == BatchLens{12, 3});
  CHECK(lens(Forward::draft_extend, {3, 1}, 12, 3) == BatchLens{12, 4});
  CHECK(lens(Forward::extend, {5, 2}, 12, 1) == BatchLens{12, 2});
  CHECK(lens(Forward::mixed, {5, 3}, 12, 1) == BatchLens{12, 3});
  CHECK(NoPadding{}({.own = {5, 3}, .shape = {.local_len = 9}}) == BatchLens{5, 3});
}

TEST_CASE("padded rows are whole requests and whole attention-TP slices, and as few as can be") {
  for (std::int32_t width = 1; width <= 6; ++width)
    for (int attn_tp = 1; attn_tp <= 4; ++attn_tp)
      for (std::int64_t local_len = 0; local_len <= 48; local_len += attn_tp) {
        const BatchLens got = lens(Forward::target_verify, {}, local_len, width, attn_tp);
        std::int64_t rows = local_len;
        while (rows % width != 0 || rows % attn_tp != 0) ++rows;
        CHECK(got == BatchLens{rows, rows / width});
      }
}

TEST_CASE("an eager draft extend with few tokens keeps all its requests, a captured one cannot") {
  CHECK(lens(Forward::draft_extend, {5, 3}, 8, 4, 1, false) == BatchLens{8, 3});
  CHECK(lens(Forward::draft_extend, {5, 3}, 8, 4, 1, true) == BatchLens{8, 2});
  const PadInput input{
      .own = {5, 3},
      .shape = {.local_len = 8, .forward = Forward::draft_extend, .width = 4, .is_static = true}};
  CHECK_THROWS_AS((void)pad_counts(PadToShape{}, input, Forward::draft_extend, {}),
                  dpgather::CapacityError);
}

TEST_CASE("a policy that loses own rows is refused") {
  const PadInput input{.own = {2, 2}, .shape = {.local_len = 4, .forward = Forward::decode}};
  CHECK_THROWS_AS((void)pad_counts(Shorter{}, input, Forward::decode, {}), dpgather::CapacityError);
}

TEST_CASE("negative counts are refused") {
  const PadInput input{.own = {-1, 0}, .shape = {.local_len = 4, .forward = Forward::decode}};
  CHECK_THROWS_AS((void)pad_counts(PadToShape{}, input, Forward::decode, {}),
                  dpgather::InvalidArgument);
}

TEST_CASE("an idle rank takes the step's fills, any other its own") {
  CHECK(dpgather::fill_mode(Forward::idle, Forward::target_verify) == Forward::target_verify);
  CHECK(dpgather::fill_mode(Forward::decode, Forward::mixed) == Forward::decode);
  CHECK(dpgather::fill_mode(Forward::idle, Forward::idle) == Forward::idle);
}
