#include <cstdint>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/capture_sizes.hpp>

using dpgather::CaptureSizes;
using dpgather::InvalidArgument;

namespace {

std::vector<std::int64_t> values(const CaptureSizes& sizes) {
  return {sizes.values().begin(), sizes.values().end()};
}

}  // namespace

TEST_CASE("the default sizes up to 256 are SGLang's 36") {
  CHECK(values(CaptureSizes::sglang(256)) ==
        std::vector<std::int64_t>{1,   2,   4,   8,   12,  16,  24,  32,  40,  48,  56,  64,
                                  72,  80,  88,  96,  104, 112, 120, 128, 136, 144, 152, 160,
                                  168, 176, 184, 192, 200, 208, 216, 224, 232, 240, 248, 256});
}

TEST_CASE("above 256 sizes go by 16 to 496, then by 32") {
  const auto all = values(CaptureSizes::sglang(600));
  const std::vector<std::int64_t> tail(all.begin() + 36, all.end());
  CHECK(tail == std::vector<std::int64_t>{272, 288, 304, 320, 336, 352, 368, 384, 400, 416, 432,
                                          448, 464, 480, 496, 512, 544, 576});
  CHECK(CaptureSizes::sglang(511).largest() == 496);
  CHECK(values(CaptureSizes::sglang(3)) == std::vector<std::int64_t>{1, 2});
}

TEST_CASE("a default size is kept only if its rows can be shared by the attention-TP ranks") {
  CHECK(values(CaptureSizes::sglang(24, 1, 8)) == std::vector<std::int64_t>{8, 16, 24});
  CHECK(values(CaptureSizes::sglang(24, 4, 8)) == std::vector<std::int64_t>{2, 4, 8, 12, 16, 24});
  CHECK(values(CaptureSizes::sglang(16, 3, 6)) == std::vector<std::int64_t>{2, 4, 8, 12, 16});
  for (const auto size : values(CaptureSizes::sglang(512, 3, 4))) CHECK(size * 3 % 4 == 0);
  CHECK_THROWS_WITH_AS(
      CaptureSizes::sglang(4, 1, 8),
      "[CaptureSizes] no default size up to 4 has size * width 1 divisible by attn_tp 8",
      InvalidArgument);
}

TEST_CASE("the smallest size that fits is taken, and none above the largest") {
  const auto sizes = CaptureSizes::sglang(256);
  for (std::int64_t n = 0; n <= 300; ++n) {
    std::optional<std::int64_t> expected;
    for (const auto size : sizes.values())
      if (size >= n && !expected) expected = size;
    REQUIRE(sizes.fit(n) == expected);
    REQUIRE(sizes(n) == expected.value_or(n));
  }
}

TEST_CASE("a user's sizes may come in any order and twice") {
  const CaptureSizes sizes({32, 8, 32, 1});
  CHECK(values(sizes) == std::vector<std::int64_t>{1, 8, 32});
  CHECK(sizes.fingerprint() == CaptureSizes({1, 8, 32}).fingerprint());
  CHECK(sizes.fingerprint() != CaptureSizes({1, 8}).fingerprint());
}

TEST_CASE("sizes outside their limits are refused with value and limit") {
  CHECK_THROWS_WITH_AS(CaptureSizes({}), "[CaptureSizes] no size given, at least 1 is needed",
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(CaptureSizes({4, 0}),
                       "[CaptureSizes] sizes run from 0 to 4, must be 1 to 2147483647",
                       InvalidArgument);
  CHECK_THROWS_AS(CaptureSizes({-1}), InvalidArgument);
  CHECK_THROWS_AS(CaptureSizes({dpgather::max_rows + 1}), InvalidArgument);
  CHECK_THROWS_AS(CaptureSizes::sglang(0), InvalidArgument);
  CHECK_THROWS_AS(CaptureSizes::sglang(8, 0), InvalidArgument);
  CHECK_THROWS_AS(CaptureSizes::sglang(8, 1, 0), InvalidArgument);
  CHECK_THROWS_AS(CaptureSizes::sglang(dpgather::max_rows + 1), InvalidArgument);
}
