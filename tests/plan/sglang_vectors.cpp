// Known decisions of SGLang's rule, by version and attention-TP size.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/plan.hpp>

#include "plan/choose.hpp"

using dpgather::LenMode;
using dpgather::VolumeRule;

namespace {

constexpr LenMode MAX = LenMode::max_len;
constexpr LenMode SUM = LenMode::sum_len;

struct Decision {
  LenMode mode;
  std::int64_t rows;  // of the global buffer
};
struct Vector {
  std::vector<std::int64_t> counts;
  Decision sglang_20406[2];  // at attention TP 1 and 2
  Decision sglang_8280[2];
};

const std::vector<Vector>& vectors() {
  static const std::vector<Vector> all{
      {{8, 8, 8, 8}, {{MAX, 32}, {MAX, 32}}, {{MAX, 32}, {MAX, 32}}},
      {{1, 0, 0, 0}, {{SUM, 1}, {SUM, 2}}, {{SUM, 1}, {SUM, 2}}},
      {{5, 3, 0, 0}, {{SUM, 8}, {SUM, 10}}, {{SUM, 8}, {SUM, 10}}},
      {{4, 4, 0, 0}, {{MAX, 16}, {MAX, 16}}, {{SUM, 8}, {SUM, 8}}},
      {{0, 0, 0, 0}, {{MAX, 0}, {MAX, 0}}, {{SUM, 0}, {SUM, 0}}},
      {{512, 1, 1, 1, 1, 1, 1, 1}, {{SUM, 519}, {SUM, 526}}, {{SUM, 519}, {SUM, 526}}},
      {{33, 30, 28, 31, 0, 29, 27, 32}, {{MAX, 264}, {MAX, 272}}, {{MAX, 264}, {MAX, 272}}},
      {{17, 5, 2, 9}, {{SUM, 33}, {MAX, 72}}, {{SUM, 33}, {SUM, 36}}},
      {{6, 1, 1, 4}, {{MAX, 24}, {MAX, 24}}, {{SUM, 12}, {MAX, 24}}},
  };
  return all;
}

void check(const Vector& vector, int attn_tp, const VolumeRule& rule, const Decision& expected) {
  CAPTURE(vector.counts);
  CAPTURE(attn_tp);
  const auto ranks = static_cast<int>(vector.counts.size());
  const dpgather::PlanInput input{.layout = {.dp = ranks, .attn_tp = attn_tp},
                                  .counts = vector.counts,
                                  .forward = dpgather::Forward::decode};
  dpgather::Plan plan;
  std::int64_t end = 0;
  for (int rank = 0; rank < input.layout.world(); ++rank) {
    CAPTURE(rank);
    dpgather::make_plan(input, rank, dpgather::ExactLen{}, plan_test::by_rule(rule), plan);
    CHECK(dpgather::len_mode(plan.shape.transport) == expected.mode);
    CHECK(plan.shape.global_len == expected.rows);
    // Rows kept by each rank: the longest rank's if padded, else its own.
    if (expected.mode == MAX)
      CHECK(plan.shape.local_len * ranks == expected.rows);
    else if (rank % attn_tp == 0)
      end += plan.shape.local_len;
  }
  if (expected.mode == SUM) CHECK(end == expected.rows);
}

}  // namespace

TEST_CASE("mode and buffer rows of #20406, attention TP 1 and 2") {
  for (const auto& vector : vectors())
    for (const int attn_tp : {1, 2})
      check(vector, attn_tp, VolumeRule::sglang_20406(), vector.sglang_20406[attn_tp - 1]);
}

TEST_CASE("mode and buffer rows of #8280, attention TP 1 and 2") {
  for (const auto& vector : vectors())
    for (const int attn_tp : {1, 2})
      check(vector, attn_tp, VolumeRule::sglang_8280(), vector.sglang_8280[attn_tp - 1]);
}

TEST_CASE("a prefill step of #10414 keeps each rank's own rows, whatever the counts") {
  for (const auto& vector : vectors()) {
    const dpgather::PlanInput input{.layout = {.dp = static_cast<int>(vector.counts.size())},
                                    .counts = vector.counts,
                                    .forward = dpgather::Forward::mixed};
    dpgather::Plan plan;
    for (const auto& rule : {VolumeRule::sglang_10414(), VolumeRule::sglang_20406()}) {
      dpgather::make_plan(input, 0, dpgather::ExactLen{}, plan_test::by_rule(rule), plan);
      CHECK(dpgather::len_mode(plan.shape.transport) == SUM);
      CHECK(plan.shape.global_len == plan.valid_rows);
    }
  }
}

TEST_CASE("one DP rank alone pads in #20406 even when it prefills") {
  const std::vector<std::int64_t> counts{7};
  const dpgather::PlanInput input{
      .layout = {.dp = 1, .attn_tp = 2}, .counts = counts, .forward = dpgather::Forward::extend};
  dpgather::Plan plan;
  dpgather::make_plan(input, 1, dpgather::ExactLen{},
                      plan_test::by_rule(VolumeRule::sglang_20406()), plan);
  CHECK(plan.shape.transport == dpgather::Transport::max_len);
  CHECK(plan.shape.local_len == 8);
  CHECK(plan.shape.global_len == 8);
}
