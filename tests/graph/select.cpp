#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/graph/select.hpp>
#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/plan/shape_sizes.hpp>

using namespace dpgather;

namespace {

const CaptureSizes sizes = CaptureSizes::sglang(64);

Selection select(const std::vector<std::int64_t>& counts, Transport transport = Transport::max_len,
                 Forward forward = Forward::decode, int width = 1, DpLayout layout = {},
                 bool vote = true, std::int64_t requests = 0) {
  layout.dp = static_cast<int>(counts.size());
  return select_shape({.layout = layout, .counts = counts, .forward = forward, .width = width},
                      requests, vote, transport, sizes);
}

}  // namespace

TEST_CASE("the smallest size that fits the longest rank, times the ranks") {
  const auto chosen = select({3, 0, 13, 1});
  CHECK(chosen.reason == EagerReason::none);
  CHECK(chosen.shape == ShapeKey{.local_len = 16,
                                 .global_len = 64,
                                 .transport = Transport::max_len,
                                 .forward = Forward::decode,
                                 .is_static = true});
  CHECK(select({64, 64}).shape.local_len == 64);
  CHECK(select({1}).shape.local_len == 1);
}

TEST_CASE(
    "a captured sum has an axis of its own: the size that holds the sum, never more than all ranks "
    "full") {
  CHECK(select({3, 0, 13, 1}, Transport::sum_len_all_reduce).shape.global_len == 24);
  CHECK(select({3, 0, 13, 1}, Transport::sum_len_all_reduce).shape.local_len == 16);
  CHECK(select({1, 1}, Transport::sum_len_all_reduce).shape.global_len == 2);
  CHECK(select({60, 60, 60}, Transport::sum_len_all_reduce).shape.global_len ==
        192);  // 180 -> 192 = 3 * 64
  CHECK(select({64, 64, 64, 64, 64, 64, 64, 64}, Transport::sum_len_all_reduce).shape.global_len ==
        512);
}

TEST_CASE("lens are whole requests and whole attention-TP slices") {
  const auto chosen = select({9, 6}, Transport::max_len, Forward::target_verify, 3, {.attn_tp = 2});
  CHECK(chosen.shape.local_len ==
        12);  // 3 requests -> size 4 -> 12 rows, a multiple of lcm(2, 3) = 6
  CHECK(chosen.shape.global_len == 24);
  CHECK(chosen.shape.requests() == 4);
  CHECK(select({3, 3}, Transport::max_len, Forward::decode, 1, {.attn_tp = 3}).shape.local_len %
            3 ==
        0);
}

TEST_CASE("requests need slots even where few of their rows exist: draft extend") {
  const auto chosen = select({5, 0}, Transport::max_len, Forward::draft_extend, 4, {}, true, 4);
  CHECK(chosen.shape.requests() == 4);
  CHECK(chosen.shape.local_len == 16);
}

TEST_CASE("the global len holds the fullest FFN group, so that all groups run one shape") {
  const std::vector<std::int64_t> counts{1, 1, 20, 20};
  const auto chosen =
      select(counts, Transport::sum_len_all_reduce, Forward::decode, 1, {.ffn_dp = 2});
  CHECK(chosen.shape.global_len == 40);
  CHECK(select(counts, Transport::max_len, Forward::decode, 1, {.ffn_dp = 2}).shape.global_len ==
        48);
}

TEST_CASE("the shapes to capture before serving are those that serving selects") {
  for (const int width : {1, 3}) {
    const DpLayout layout{.dp = 2, .attn_tp = 2};
    const auto forward = width == 1 ? Forward::decode : Forward::target_verify;
    const auto shapes = max_len_shapes(sizes, layout, forward, width);
    CHECK(shapes.size() == sizes.values().size());
    for (std::int64_t requests = 1; requests <= sizes.largest(); ++requests) {
      const auto chosen =
          select({requests * width, 0}, Transport::max_len, forward, width, {.attn_tp = 2});
      CHECK(std::find(shapes.begin(), shapes.end(), chosen.shape) != shapes.end());
    }
  }
}

TEST_CASE(
    "under SUM_LEN a list of pairs gives its cheapest, under MAX_LEN its smallest local size") {
  const ShapeSizes list({{4, 20}, {8, 16}, {16, 64}}, {.ranks = 4});
  const auto chosen = [&list](const std::vector<std::int64_t>& counts, Transport transport) {
    return select_shape({.layout = {.dp = 4}, .counts = counts, .forward = Forward::decode}, 0,
                        true, transport, list);
  };
  const auto lens = [&](const std::vector<std::int64_t>& counts, Transport transport) {
    const ShapeKey shape = chosen(counts, transport).shape;
    return SizePair{shape.local_len, shape.global_len};
  };
  CHECK(lens({4, 4, 4, 4}, Transport::sum_len_all_reduce) == SizePair{4, 16});  // 20 cut to 4 * 4
  CHECK(lens({7, 4, 2, 0}, Transport::sum_len_all_reduce) == SizePair{8, 16});
  CHECK(lens({7, 4, 4, 4}, Transport::sum_len_all_reduce) == SizePair{16, 64});
  CHECK(lens({7, 4, 4, 4}, Transport::max_len) == SizePair{8, 32});
  CHECK(chosen({17, 0, 0, 0}, Transport::sum_len_all_reduce).reason == EagerReason::too_large);
  CHECK(chosen({17, 0, 0, 0}, Transport::max_len).reason == EagerReason::too_large);
}

TEST_CASE("the pairs to capture before serving are those that serving selects") {
  const ShapeSizes list({{3, 5}, {4, 7}, {9, 18}}, {.ranks = 2});
  const DpLayout layout{.dp = 2, .attn_tp = 2};
  for (const int width : {1, 3}) {
    const auto forward = width == 1 ? Forward::decode : Forward::target_verify;
    const auto shapes = sum_len_shapes(list, layout, Transport::sum_len_all_reduce, forward, width);
    CHECK(shapes.size() == list.pairs().size());
    for (std::int64_t a = 1; a <= 9; ++a)
      for (std::int64_t b = 0; b <= a; ++b) {
        const std::vector<std::int64_t> counts{a * width, b * width};
        const auto chosen =
            select_shape({.layout = layout, .counts = counts, .forward = forward, .width = width},
                         a, true, Transport::sum_len_all_reduce, list);
        // Ranks' rows are rounded up to what attention TP can slice: at most 18 + 2 in all.
        if (chosen.reason == EagerReason::none)
          REQUIRE(std::find(shapes.begin(), shapes.end(), chosen.shape) != shapes.end());
        else
          REQUIRE(a == 9);
      }
  }
}

TEST_CASE("where no graph can run, the reason is kept") {
  CHECK(select({3, 4}, Transport::max_len, Forward::mixed).reason == EagerReason::prefill);
  CHECK(select({3, 4}, Transport::max_len, Forward::extend).reason == EagerReason::prefill);
  CHECK(select({3, 4}, Transport::max_len, Forward::decode, 1, {}, false).reason ==
        EagerReason::vote);
  CHECK(select({0, 0}).reason == EagerReason::no_rows);
  CHECK(select({65, 1}).reason == EagerReason::too_large);
  CHECK(select({3, 4}, Transport::sum_len_all_gather_v).reason == EagerReason::mode_not_capturable);
  const std::vector<std::int64_t> counts{10, 10};
  const PlanInput input{.layout = {.dp = 2}, .counts = counts, .forward = Forward::decode};
  CHECK(select_shape(input, 10, true, std::nullopt, sizes).reason ==
        EagerReason::mode_not_capturable);
  CHECK(select_shape(input, 10, true, Transport::max_len, sizes, {.local_rows = 11}).reason ==
        EagerReason::too_large);
  CHECK(select_shape(input, 10, true, Transport::max_len, sizes,
                     {.local_rows = 12, .global_rows = 23})
            .reason == EagerReason::too_large);
}
