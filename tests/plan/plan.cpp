#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/plan/plan.hpp>

#include "plan/choose.hpp"
#include "support/allocations.hpp"
#include "support/seed.hpp"

using dpgather::CapacityError;
using dpgather::ExactLen;
using dpgather::Forward;
using dpgather::InvalidArgument;
using dpgather::make_plan;
using dpgather::make_static_plan;
using dpgather::Plan;
using dpgather::PlanInput;
using dpgather::ShapeKey;
using dpgather::Transport;
using plan_test::always;

namespace {

using List = std::vector<std::int64_t>;

Plan eager(const PlanInput& input, int rank, Transport transport) {
  Plan plan;
  make_plan(input, rank, ExactLen{}, always(transport), plan);
  return plan;
}

}  // namespace

TEST_CASE("MAX_LEN blocks are equally long and lie one after another") {
  const List counts{3, 0, 5, 1};
  const Plan plan = eager({.layout = {.dp = 4}, .counts = counts}, 2, Transport::max_len);
  CHECK(plan.shape.local_len == 5);
  CHECK(plan.shape.global_len == 20);
  CHECK(plan.valid == counts);
  CHECK(plan.lens == List{5, 5, 5, 5});
  CHECK(plan.offsets == List{0, 5, 10, 15});
  CHECK(plan.valid_rows == 9);
  CHECK(plan.own_valid() == 5);
  CHECK(plan.own_offset() == 10);
  CHECK_FALSE(plan.shape.is_static);
}

TEST_CASE("SUM_LEN blocks are as long as their aligned counts") {
  const List counts{3, 0, 5, 1};
  const PlanInput input{.layout = {.dp = 4, .attn_tp = 2}, .counts = counts};
  const Plan plan = eager(input, 7, Transport::sum_len_all_gather_v);
  CHECK(plan.block == 3);
  CHECK(plan.shape.local_len == 2);
  CHECK(plan.shape.global_len == 12);
  CHECK(plan.lens == List{4, 0, 6, 2});
  CHECK(plan.offsets == List{0, 4, 4, 10});
  CHECK(plan.own_len() == 2);
  CHECK(plan.own_valid() == 1);
}

TEST_CASE("a plan holds the rows of its own FFN group only") {
  const List counts{1, 2, 3, 40};
  const PlanInput input{.layout = {.dp = 4, .attn_tp = 1, .ffn_dp = 2}, .counts = counts};
  const Plan first = eager(input, 1, Transport::max_len);
  CHECK(first.valid == List{1, 2});
  CHECK(first.shape.global_len == 4);
  CHECK(first.block == 1);
  const Plan second = eager(input, 2, Transport::max_len);
  CHECK(second.valid == List{3, 40});
  CHECK(second.shape.global_len == 80);
  CHECK(second.block == 0);
}

TEST_CASE("a len is whole requests and shared out evenly by attention TP") {
  const List counts{3, 6};
  const PlanInput verify{.layout = {.dp = 2, .attn_tp = 2},
                         .counts = counts,
                         .forward = Forward::target_verify,
                         .width = 3};
  CHECK(verify.alignment() == 6);
  CHECK(eager(verify, 0, Transport::sum_len_all_reduce).lens == List{6, 6});
  const PlanInput prefill{
      .layout = {.dp = 2, .attn_tp = 2}, .counts = counts, .forward = Forward::extend, .width = 3};
  CHECK(prefill.alignment() == 2);
  CHECK(eager(prefill, 0, Transport::sum_len_all_reduce).lens == List{4, 6});
}

TEST_CASE("rounding applies to the longest rank and never to a step without rows") {
  const List counts{3, 9};
  const List none{0, 0};
  Plan plan;
  const auto rounding = dpgather::RoundUp<8>{};
  make_plan({.layout = {.dp = 2}, .counts = counts}, 0, rounding, always(Transport::max_len), plan);
  CHECK(plan.shape.local_len == 16);
  CHECK(plan.shape.global_len == 32);
  make_plan({.layout = {.dp = 2}, .counts = none}, 0, rounding, always(Transport::max_len), plan);
  CHECK(plan.shape.local_len == 0);
  CHECK(plan.shape.global_len == 0);
  const dpgather::CaptureSizes sizes({10, 20});
  make_plan({.layout = {.dp = 2, .attn_tp = 4}, .counts = counts}, 0, sizes,
            always(Transport::max_len), plan);
  CHECK_MESSAGE(plan.shape.local_len == 20, "12 aligned rows round to 20, a multiple of 4");
  make_plan({.layout = {.dp = 2}, .counts = counts}, 0, sizes,
            always(Transport::sum_len_all_reduce), plan);
  CHECK_MESSAGE(plan.shape.global_len == 12, "SUM_LEN moves no rounding rows");
}

TEST_CASE("the rule is asked once, with the aligned counts of the group and whether it prefills") {
  const List counts{1, 2, 3, 4};
  Plan plan;
  int asked = 0;
  const auto choose = [&](const dpgather::StepLoad& load) {
    ++asked;
    CHECK(List(load.counts.begin(), load.counts.end()) == List{4, 4});
    CHECK(load.prefill);
    return Transport::max_len;
  };
  make_plan(
      {.layout = {.dp = 4, .attn_tp = 2, .ffn_dp = 2}, .counts = counts, .forward = Forward::mixed},
      5, ExactLen{}, choose, plan);
  CHECK(asked == 1);
}

TEST_CASE("bad input of a plan is one error that names value and limit, and changes nothing") {
  const List good{1, 2};
  const List negative{1, -3};
  const List huge{1, dpgather::max_rows + 1};
  Plan plan = eager({.layout = {.dp = 2}, .counts = good}, 1, Transport::max_len);
  const auto remake = [&plan](const PlanInput& input, int rank) {
    make_plan(input, rank, ExactLen{}, always(Transport::max_len), plan);
  };
  CHECK_THROWS_WITH_AS(remake({.layout = {.dp = 3}, .counts = good}, 0),
                       "[rank 0, plan] 2 counts given for dp 3", InvalidArgument);
  CHECK_THROWS_WITH_AS(remake({.layout = {.dp = 2}, .counts = negative}, 0),
                       "[rank 0, plan] count of DP rank 1 is -3, must be 0 to 2147483647",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(remake({.layout = {.dp = 2}, .counts = huge}, 1),
                       "[rank 1, plan] count of DP rank 1 is 2147483648, must be 0 to 2147483647",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(remake({.layout = {.dp = 2}, .counts = good}, 2),
                       "[DpLayout] rank is 2, must be 0 to 1", InvalidArgument);
  CHECK_THROWS_AS(remake({.layout = {.dp = 2}, .counts = good, .width = 0}, 0), InvalidArgument);
  CHECK_THROWS_AS(remake({.layout = {.dp = 2}, .counts = good, .width = -1}, 0), InvalidArgument);
  CHECK(plan.valid == good);
  CHECK(plan.rank == 1);
  CHECK(plan.shape.global_len == 4);
}

TEST_CASE("counts at the limit do not overflow a plan") {
  const List counts(1024, dpgather::max_rows);
  const PlanInput input{.layout = {.dp = 1024, .attn_tp = 1024}, .counts = counts};
  const Plan plan = eager(input, 0, Transport::max_len);
  CHECK(plan.shape.local_len == std::int64_t{1} << 31);
  CHECK(plan.shape.global_len == std::int64_t{1} << 41);
  CHECK(plan.valid_rows == 1024 * dpgather::max_rows);
  const PlanInput odd{.layout = input.layout,
                      .counts = counts,
                      .forward = Forward::target_verify,
                      .width = 2147483647};
  CHECK(eager(odd, 0, Transport::sum_len_all_reduce).shape.global_len ==
        1024 * std::int64_t{2147483647} * 1024);
}

TEST_CASE("a captured shape holds any step that fits both axes") {
  const List counts{3, 0, 4, 1};
  const PlanInput input{.layout = {.dp = 4}, .counts = counts, .forward = Forward::decode};
  Plan plan;
  const ShapeKey max{.local_len = 4,
                     .global_len = 16,
                     .transport = Transport::max_len,
                     .forward = Forward::decode,
                     .is_static = true};
  make_static_plan(input, 2, max, plan);
  CHECK(plan.shape == max);
  CHECK(plan.valid == counts);
  CHECK(plan.offsets == List{0, 4, 8, 12});
  const ShapeKey sum{.local_len = 4,
                     .global_len = 8,
                     .transport = Transport::sum_len_all_reduce,
                     .forward = Forward::decode,
                     .is_static = true};
  make_static_plan(input, 2, sum, plan);
  CHECK(plan.shape == sum);
  CHECK(plan.lens == counts);
  CHECK(plan.offsets == List{0, 3, 3, 7});
}

TEST_CASE(
    "a step that does not fit a captured shape is refused on every rank with the same words") {
  const List counts{3, 0, 5, 1};
  const PlanInput input{.layout = {.dp = 4}, .counts = counts, .forward = Forward::decode};
  const ShapeKey narrow{.local_len = 4, .global_len = 16, .is_static = true};
  const ShapeKey shallow{.local_len = 8,
                         .global_len = 8,
                         .transport = Transport::sum_len_all_reduce,
                         .is_static = true};
  Plan plan;
  for (int rank = 0; rank < 4; ++rank) {
    const std::string prefix = dpgather::concat("[rank ", rank, ", plan] ");
    CHECK_THROWS_WITH_AS(make_static_plan(input, rank, narrow, plan),
                         (prefix + "longest rank has 5 rows, the captured local_len is 4").c_str(),
                         CapacityError);
    CHECK_THROWS_WITH_AS(make_static_plan(input, rank, shallow, plan),
                         (prefix + "ranks have 9 rows, the captured global_len is 8").c_str(),
                         CapacityError);
  }
}

TEST_CASE("a shape that cannot be captured makes no static plan") {
  const List counts{1};
  const PlanInput input{.counts = counts};
  Plan plan;
  CHECK_THROWS_WITH_AS(
      make_static_plan(input, 0, {.local_len = 4, .global_len = 4}, plan),
      "[rank 0, plan] shape max_len idle local_len 4 global_len 4 width 1 exact cannot be captured",
      InvalidArgument);
  const ShapeKey baked{.local_len = 4,
                       .global_len = 4,
                       .transport = Transport::sum_len_all_gather_v,
                       .is_static = true};
  CHECK_THROWS_AS(make_static_plan(input, 0, baked, plan), InvalidArgument);
}

TEST_CASE("making a plan again allocates nothing") {
  constexpr int ranks = 8;
  support::Random random(support::seed("plan allocations", 11));
  List counts(ranks, 1);
  const auto rule = plan_test::by_rule(dpgather::VolumeRule{});
  const auto sizes = dpgather::CaptureSizes::sglang(256);
  const ShapeKey shape{.local_len = 512, .global_len = 512 * ranks, .is_static = true};
  Plan plan;
  const auto remake = [&](int rank) {
    const PlanInput input{.layout = {.dp = ranks, .attn_tp = 2}, .counts = counts};
    make_plan(input, rank, ExactLen{}, rule, plan);
    make_plan(input, rank, sizes, always(Transport::sum_len_all_gather_v), plan);
    make_static_plan(input, rank, shape, plan);
  };
  const auto before_first = support::allocations_of_this_thread();
  remake(0);
  const auto after_first = support::allocations_of_this_thread();
  CHECK_MESSAGE(after_first > before_first, "the counter counts");
  for (int step = 0; step < 1000; ++step) {
    for (auto& count : counts) count = random.between(0, 500);
    remake(step % (2 * ranks));
  }
  CHECK(support::allocations_of_this_thread() == after_first);
}
