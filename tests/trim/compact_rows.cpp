// Row bodies of compaction by starts, against appending row by row.
#include <algorithm>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/stream.hpp>
#include <dpgather/trim/compact_rows.hpp>

#include "support/seed.hpp"

using namespace dpgather;

TEST_CASE("each output row finds its slot row, and what follows the last becomes zero") {
  support::Random random(support::seed("compact rows", 6));
  for (int round = 0; round < 300; ++round) {
    const std::int64_t requests = random.between(0, 9);
    const std::int64_t width = random.between(1, 5);
    const std::int64_t hidden = random.between(1, 9);
    std::vector<float> slots(static_cast<std::size_t>(requests * width * hidden));
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<float>(i + 1);
    std::vector<std::int64_t> starts{0};
    std::vector<float> expected;
    for (std::int64_t r = 0; r < requests; ++r) {
      const std::int64_t valid = random.between(0, width);
      starts.push_back(starts.back() + valid);
      const auto first = slots.begin() + r * width * hidden;
      expected.insert(expected.end(), first, first + valid * hidden);
    }
    const std::int64_t rows = starts.back() + random.between(-1, 3);
    if (rows < 0) continue;
    expected.resize(static_cast<std::size_t>(rows * hidden), 0.0f);
    std::vector<float> out(static_cast<std::size_t>(rows * hidden), -1.0f);
    const detail::CompactRow<float> body{starts.data(), requests, width,
                                         Rows<const float>(slots.data(), requests * width, hidden),
                                         Rows<float>(out.data(), rows, hidden)};
    for (const int lanes : {1, 4}) {
      std::fill(out.begin(), out.end(), -1.0f);
      for (std::int64_t row = rows - 1; row >= 0; --row)
        for (int lane = 0; lane < lanes; ++lane) body(row, lane, lanes);
      REQUIRE(out == expected);
    }
  }
}

TEST_CASE("a count outside 0 to width is clamped and reported") {
  std::int64_t error = 0;
  const detail::ClampCount<std::int32_t> clamp{4, &error};
  CHECK(clamp(0) == 0);
  CHECK(clamp(4) == 4);
  CHECK(error == 0);
  CHECK(clamp(5) == 4);
  CHECK(error == 5);
  CHECK(clamp(-2) == 0);
  CHECK(error == -2);
}
