// Random plans against a computation that goes row by row.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/plan/plan.hpp>

#include "support/seed.hpp"

namespace {

using dpgather::Forward;
using dpgather::Transport;
using List = std::vector<std::int64_t>;

struct Case {
  int dp = 1, attn_tp = 1, ffn_dp = 0;
  Forward forward = Forward::decode;
  std::int32_t width = 1;
  List counts;
  Transport transport = Transport::max_len;

  [[nodiscard]] std::string to_string() const {
    std::string text =
        dpgather::concat("dp ", dp, " attn_tp ", attn_tp, " ffn_dp ", ffn_dp, " ", name(forward),
                         " width ", width, " ", name(transport), " counts");
    for (const auto count : counts) text += dpgather::concat(" ", count);
    return text;
  }
};

Case random_case(support::Random& random) {
  Case made;
  made.dp = static_cast<int>(random.between(1, random.chance(10) ? 64 : 9));
  made.attn_tp = static_cast<int>(random.between(1, 6));
  do made.ffn_dp = static_cast<int>(random.between(0, made.dp));
  while (made.ffn_dp != 0 && made.dp % made.ffn_dp != 0);
  made.forward = static_cast<Forward>(random.between(0, dpgather::forward_count - 1));
  made.width = static_cast<std::int32_t>(random.between(1, 7));
  made.transport = static_cast<Transport>(random.between(0, 2));
  const auto kind = random.between(0, 4);
  const std::int64_t tie = random.between(0, 40);
  for (int i = 0; i < made.dp; ++i) {
    if (kind == 0) made.counts.push_back(0);                             // nobody has rows
    if (kind == 1) made.counts.push_back(tie);                           // a tie of all
    if (kind == 2) made.counts.push_back(random.between(0, 300));        // anything
    if (kind == 3) made.counts.push_back(random.chance(50) ? 0 : tie);   // idle ranks
    if (kind == 4) made.counts.push_back(random.chance(15) ? 3000 : 1);  // a huge skew
  }
  return made;
}

/// Where each row of the global buffer comes from, laid out by hand.
struct Expected {
  std::vector<List> rows;  // of each block: source row, or -1 for a pad
  List offsets;
  std::int64_t local_len = 0, global_len = 0, valid_rows = 0;
};

Expected lay_out(const Case& c, int rank, const std::function<std::int64_t(std::int64_t)>& round) {
  const bool prefill = c.forward == Forward::extend || c.forward == Forward::mixed;
  const auto fits = [&](std::int64_t len) {
    return len % c.attn_tp == 0 && (prefill || len % c.width == 0);
  };
  const int group_dp = c.ffn_dp == 0 ? c.dp : c.ffn_dp;
  const int own = rank / c.attn_tp;
  int first = own;
  while (first % group_dp != 0) --first;

  Expected out;
  std::size_t longest = 0;
  for (int d = first; d < first + group_dp; ++d) {
    List block;
    for (std::int64_t i = 0; i < c.counts[static_cast<std::size_t>(d)]; ++i) block.push_back(i);
    out.valid_rows += static_cast<std::int64_t>(block.size());
    while (!fits(static_cast<std::int64_t>(block.size()))) block.push_back(-1);
    if (block.size() > longest) longest = block.size();
    out.rows.push_back(block);
  }
  if (c.transport == Transport::max_len && longest > 0) {
    std::int64_t len = round(static_cast<std::int64_t>(longest));
    while (!fits(len)) ++len;
    for (auto& block : out.rows) block.resize(static_cast<std::size_t>(len), -1);
  }
  for (const auto& block : out.rows) {
    out.offsets.push_back(out.global_len);
    out.global_len += static_cast<std::int64_t>(block.size());
  }
  out.local_len = static_cast<std::int64_t>(out.rows[static_cast<std::size_t>(own - first)].size());
  return out;
}

template <class Rounding>
void check(const Case& c, const Rounding& rounding,
           const std::function<std::int64_t(std::int64_t)>& round, dpgather::Plan& plan) {
  const dpgather::PlanInput input{.layout = {c.dp, c.attn_tp, c.ffn_dp},
                                  .counts = c.counts,
                                  .forward = c.forward,
                                  .width = c.width};
  for (int rank = 0; rank < c.dp * c.attn_tp; ++rank) {
    const Expected expected = lay_out(c, rank, round);
    dpgather::make_plan(
        input, rank, rounding, [&c](const dpgather::StepLoad&) { return c.transport; }, plan);
    REQUIRE(plan.rank == rank);
    REQUIRE(plan.shape.transport == c.transport);
    REQUIRE(plan.shape.forward == c.forward);
    REQUIRE(plan.shape.width == c.width);
    REQUIRE(plan.shape.local_len == expected.local_len);
    REQUIRE(plan.shape.global_len == expected.global_len);
    REQUIRE(plan.valid_rows == expected.valid_rows);
    REQUIRE(plan.offsets == expected.offsets);
    REQUIRE(plan.own_len() == expected.local_len);
    REQUIRE(plan.own_offset() == expected.offsets[static_cast<std::size_t>(plan.block)]);
    REQUIRE(plan.blocks() == static_cast<std::int64_t>(expected.rows.size()));
    for (std::size_t d = 0; d < expected.rows.size(); ++d) {
      std::int64_t real = 0;
      for (const auto row : expected.rows[d]) real += row >= 0 ? 1 : 0;
      REQUIRE(plan.lens[d] == static_cast<std::int64_t>(expected.rows[d].size()));
      REQUIRE(plan.valid[d] == real);
    }
  }
}

}  // namespace

TEST_CASE("random plans equal a layout made row by row") {
  support::Random random(support::seed("plan property", 31415));
  const auto sizes = dpgather::CaptureSizes::sglang(256);
  dpgather::Plan plan;  // reused: what a step leaves behind must not reach the next
  for (int round = 0; round < 1000; ++round) {
    const Case c = random_case(random);
    INFO("round ", round, ": ", c.to_string());
    switch (random.between(0, 2)) {
      case 0:
        check(
            c, dpgather::ExactLen{}, [](std::int64_t len) { return len; }, plan);
        break;
      case 1:
        check(
            c, dpgather::RoundUp<8>{},
            [](std::int64_t len) {
              while (len % 8 != 0) ++len;
              return len;
            },
            plan);
        break;
      default:
        check(
            c, sizes,
            [&sizes](std::int64_t len) {
              for (const auto size : sizes.values())
                if (size >= len) return size;
              return len;
            },
            plan);
    }
  }
}

TEST_CASE("a static plan puts the rows of a random step where the eager plan does") {
  support::Random random(support::seed("static plan property", 2718));
  dpgather::Plan eager;
  dpgather::Plan captured;
  int refused = 0;
  for (int round = 0; round < 1000; ++round) {
    Case c = random_case(random);
    if (c.transport == Transport::sum_len_all_gather_v) c.transport = Transport::max_len;
    INFO("round ", round, ": ", c.to_string());
    const dpgather::PlanInput input{.layout = {c.dp, c.attn_tp, c.ffn_dp},
                                    .counts = c.counts,
                                    .forward = c.forward,
                                    .width = c.width};
    const int rank = static_cast<int>(random.between(0, c.dp * c.attn_tp - 1));
    dpgather::make_plan(
        input, rank, dpgather::ExactLen{}, [&c](const dpgather::StepLoad&) { return c.transport; },
        eager);
    // A captured shape that is exact, larger, or too small on one axis.
    std::int64_t longest = 0;
    for (const auto len : eager.lens) longest = len > longest ? len : longest;
    dpgather::ShapeKey shape = eager.shape;
    shape.is_static = true;
    const std::int64_t extra = random.between(-1, 2) * input.alignment();
    shape.local_len = longest + extra;
    if (c.transport == Transport::max_len)
      shape.global_len = shape.local_len * eager.blocks();
    else
      shape.global_len += random.between(-1, 2) * input.alignment();
    const bool fits = longest <= shape.local_len && eager.shape.global_len <= shape.global_len;
    if (!fits) {
      ++refused;
      REQUIRE_THROWS_AS(dpgather::make_static_plan(input, rank, shape, captured),
                        dpgather::CapacityError);
      continue;
    }
    dpgather::make_static_plan(input, rank, shape, captured);
    REQUIRE(captured.shape == shape);
    REQUIRE(captured.valid == eager.valid);
    REQUIRE(captured.valid_rows == eager.valid_rows);
    for (std::size_t d = 0; d < eager.lens.size(); ++d) {
      if (c.transport == Transport::max_len)
        REQUIRE(captured.offsets[d] == static_cast<std::int64_t>(d) * shape.local_len);
      else
        REQUIRE(captured.offsets[d] == eager.offsets[d]);
      REQUIRE(captured.offsets[d] + captured.valid[d] <= shape.global_len);
      REQUIRE(captured.valid[d] <= captured.lens[d]);
    }
  }
  CHECK(refused > 100);
}
