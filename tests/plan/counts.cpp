#include <array>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/counts.hpp>

using dpgather::max_rows;

TEST_CASE("rounding up gives the next multiple, and 0 for 0") {
  for (std::int64_t multiple = 1; multiple <= 17; ++multiple) {
    for (std::int64_t n = 0; n <= 100; ++n) {
      std::int64_t expected = n;
      while (expected % multiple != 0) ++expected;
      REQUIRE(dpgather::round_up(n, multiple) == expected);
      REQUIRE(dpgather::ceil_div(n, multiple) == expected / multiple);
    }
  }
}

TEST_CASE("rounding up many counts gives what rounding each gives, up to the limit") {
  const std::vector<std::int64_t> counts{0,       1, 2, 3, 7, 8, 63, 64, 65, 1000, max_rows - 1,
                                         max_rows};
  for (const std::int64_t multiple : {1, 2, 3, 5, 6, 8, 12, 64, 100, 1 << 20}) {
    std::vector<std::int64_t> rounded(counts.size(), -1);
    dpgather::round_up_each(counts, multiple, rounded);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      CAPTURE(counts[i]);
      CAPTURE(multiple);
      REQUIRE(rounded[i] % multiple == 0);
      REQUIRE(rounded[i] >= counts[i]);
      REQUIRE(rounded[i] - counts[i] < multiple);
    }
  }
}

TEST_CASE("of many counts the first outside its limits is named") {
  std::vector<std::int64_t> counts(100, max_rows);
  counts[3] = 0;
  CHECK_NOTHROW(dpgather::check_counts(counts, {}));
  CHECK_NOTHROW(dpgather::check_counts({}, {}));
  counts[97] = -1;
  CHECK_THROWS_WITH_AS(dpgather::check_counts(counts, {.operation = "plan"}),
                       "[plan] count of DP rank 97 is -1, must be 0 to 2147483647",
                       dpgather::InvalidArgument);
  counts[41] = max_rows + 1;
  CHECK_THROWS_WITH_AS(dpgather::check_counts(counts, {.operation = "plan"}),
                       "[plan] count of DP rank 41 is 2147483648, must be 0 to 2147483647",
                       dpgather::InvalidArgument);
}

TEST_CASE("sums, maxima and offsets of counts, with idle ranks") {
  const std::vector<std::int64_t> counts{3, 0, 5, 5, 0};
  std::vector<std::int64_t> offsets(5, -1);
  dpgather::exclusive_offsets(counts, offsets);
  CHECK(dpgather::sum(counts) == 13);
  CHECK(dpgather::max(counts) == 5);
  CHECK(offsets == std::vector<std::int64_t>{0, 3, 3, 8, 13});
}

TEST_CASE("no counts at all sum to 0 and have maximum 0") {
  CHECK(dpgather::sum({}) == 0);
  CHECK(dpgather::max({}) == 0);
}

TEST_CASE("counts at the limit do not overflow") {
  const std::vector<std::int64_t> counts(1000, max_rows);
  CHECK(dpgather::sum(counts) == 2147483647000);
  CHECK(dpgather::round_up(max_rows, 1 << 20) == std::int64_t{1} << 31);
}

TEST_CASE("slices of equal length share out the valid rows in order") {
  for (std::int64_t slice_len = 0; slice_len <= 5; ++slice_len) {
    for (std::int64_t valid = 0; valid <= 4 * slice_len; ++valid) {
      for (std::int64_t slice = 0; slice < 4; ++slice) {
        std::int64_t expected = 0;
        for (std::int64_t row = slice * slice_len; row < (slice + 1) * slice_len; ++row)
          expected += row < valid ? 1 : 0;
        REQUIRE(dpgather::rows_in_slice(valid, slice_len, slice) == expected);
      }
    }
  }
}

TEST_CASE("a count outside its limits is refused with rank, value and limit") {
  CHECK_NOTHROW(dpgather::check_count(0, 0, {}));
  CHECK_NOTHROW(dpgather::check_count(max_rows, 0, {}));
  CHECK_THROWS_WITH_AS(dpgather::check_count(-7, 2, {.operation = "plan"}),
                       "[plan] count of DP rank 2 is -7, must be 0 to 2147483647",
                       dpgather::InvalidArgument);
  CHECK_THROWS_AS(dpgather::check_count(max_rows + 1, 0, {}), dpgather::InvalidArgument);
}
