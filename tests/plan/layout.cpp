#include <set>

#include <doctest/doctest.h>

#include <dpgather/plan/layout.hpp>

using dpgather::DpLayout;
using dpgather::InvalidArgument;

TEST_CASE("attention-TP ranks of one DP rank are neighbours, and FFN groups are blocks of them") {
  const DpLayout layout{.dp = 6, .attn_tp = 2, .ffn_dp = 3};
  CHECK(layout.world() == 12);
  CHECK(layout.group_dp() == 3);
  CHECK(layout.group_world() == 6);
  int rank = 0;
  for (int group = 0; group < 2; ++group) {
    for (int block = 0; block < 3; ++block) {
      for (int tp = 0; tp < 2; ++tp, ++rank) {
        CHECK(layout.dp_rank(rank) == group * 3 + block);
        CHECK(layout.tp_rank(rank) == tp);
        CHECK(layout.group(rank) == group);
        CHECK(layout.group_first_dp(rank) == group * 3);
      }
    }
  }
}

TEST_CASE("an FFN group is all DP ranks unless said otherwise") {
  const DpLayout all{.dp = 4, .attn_tp = 2};
  CHECK(all.group_world() == all.world());
  CHECK(all.group(7) == 0);
  CHECK(all.fingerprint() == DpLayout{.dp = 4, .attn_tp = 2, .ffn_dp = 4}.fingerprint());
}

TEST_CASE("layouts that differ have different fingerprints") {
  std::set<std::uint64_t> seen;
  int layouts = 0;
  for (int dp = 1; dp <= 8; ++dp)
    for (int tp = 1; tp <= 8; ++tp)
      for (int ffn = 1; ffn <= dp; ++ffn)
        if (dp % ffn == 0) {
          seen.insert(DpLayout{dp, tp, ffn}.fingerprint());
          ++layouts;
        }
  CHECK(seen.size() == static_cast<std::size_t>(layouts));
}

TEST_CASE("a layout outside its limits is refused with value and limit") {
  CHECK_NOTHROW(DpLayout{}.check());
  CHECK_NOTHROW((DpLayout{.dp = 1 << 10, .attn_tp = 1 << 10}.check()));
  CHECK_THROWS_WITH_AS((DpLayout{.dp = 0}.check()), "[DpLayout] dp is 0, must be 1 to 1048576",
                       InvalidArgument);
  CHECK_THROWS_AS((DpLayout{.dp = -1}.check()), InvalidArgument);
  CHECK_THROWS_AS((DpLayout{.dp = (1 << 20) + 1}.check()), InvalidArgument);
  CHECK_THROWS_AS((DpLayout{.dp = 1, .attn_tp = 0}.check()), InvalidArgument);
  CHECK_THROWS_WITH_AS((DpLayout{.dp = 1 << 19, .attn_tp = 3}.check()),
                       "[DpLayout] attn_tp is 3, must be 1 to 2 with dp 524288", InvalidArgument);
  CHECK_THROWS_WITH_AS((DpLayout{.dp = 6, .ffn_dp = 4}.check()),
                       "[DpLayout] ffn_dp is 4, must be 0 (all) or divide dp 6", InvalidArgument);
  CHECK_THROWS_AS((DpLayout{.dp = 6, .ffn_dp = 12}.check()), InvalidArgument);
  CHECK_THROWS_AS((DpLayout{.dp = 6, .ffn_dp = -1}.check()), InvalidArgument);
}

TEST_CASE("a rank outside the world is refused") {
  const DpLayout layout{.dp = 3, .attn_tp = 2};
  CHECK_NOTHROW(layout.check_rank(0));
  CHECK_NOTHROW(layout.check_rank(5));
  CHECK_THROWS_WITH_AS(layout.check_rank(6), "[DpLayout] rank is 6, must be 0 to 5",
                       InvalidArgument);
  CHECK_THROWS_AS(layout.check_rank(-1), InvalidArgument);
}
