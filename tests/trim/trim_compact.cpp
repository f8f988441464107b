// Compaction of per-request slots, against appending row by row.
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/trim/trim_compact.hpp>

#include "support/seed.hpp"

namespace {

using dpgather::Forward;
using dpgather::OwnRows;
using dpgather::Rows;
using dpgather::TrimCompact;

OwnRows own(std::int64_t requests, std::int32_t width) {
  return {Forward::draft_extend, requests * width, requests, width};
}

}  // namespace

TEST_CASE("valid rows of all slots stand one after the other, in order") {
  support::Random random(support::seed("trim compact", 5));
  for (int round = 0; round < 500; ++round) {
    const auto requests = random.between(0, 12);
    const auto width = static_cast<std::int32_t>(random.between(1, 5));
    const auto padded = requests * width + random.between(0, 6);
    const std::int64_t hidden = random.between(1, 4), stride = hidden + random.between(0, 2);
    std::vector<float> slots(static_cast<std::size_t>(padded * stride) + 1);
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<float>(i + 1);
    std::vector<std::int64_t> valid;
    std::vector<float> expected;
    std::int64_t total = 0;
    for (std::int64_t r = 0; r < requests; ++r) {
      valid.push_back(random.between(0, width));
      for (std::int64_t k = 0; k < valid.back(); ++k, ++total)
        for (std::int64_t j = 0; j < hidden; ++j)
          expected.push_back(slots[static_cast<std::size_t>((r * width + k) * stride + j)]);
    }
    const auto room = total + random.between(0, 3);
    std::vector<float> out(static_cast<std::size_t>(room * hidden) + 1, -1.0f);
    const auto before = slots;
    const auto dense =
        TrimCompact{}(own(requests, width), Rows<const float>(slots.data(), padded, hidden, stride),
                      valid, Rows<float>(out.data(), room, hidden));
    CAPTURE(round);
    REQUIRE(dense.rows() == total);
    REQUIRE(dense.data() == out.data());
    expected.resize(out.size(), -1.0f);  // the rest is as it was
    REQUIRE(out == expected);
    REQUIRE(slots == before);
  }
}

TEST_CASE("what does not fit is refused by number, before a row is written") {
  std::vector<float> slots(12, 1.0f), out(3, -1.0f);
  const Rows<float> from(slots.data(), 6, 2), short_out(out.data(), 1, 2);
  const std::vector<std::int32_t> valid = {2, 1};
  const TrimCompact trim;
  CHECK_THROWS_WITH_AS((void)trim(own(2, 3), from, valid, short_out),
                       "[trim] out has 1 rows, 3 are valid", dpgather::CapacityError);
  CHECK_THROWS_WITH_AS((void)trim(own(3, 2), from, valid, short_out),
                       "[trim] 2 valid counts given, this rank has 3 requests",
                       dpgather::InvalidArgument);
  CHECK_THROWS_WITH_AS((void)trim(own(2, 4), from, valid, short_out),
                       "[trim] slots have 6 rows, 2 requests of 4 need 8",
                       dpgather::InvalidArgument);
  CHECK_THROWS_WITH_AS((void)trim(own(2, 1), from, valid, short_out),
                       "[trim] request 0 has 2 valid rows, must be 0 to 1",
                       dpgather::InvalidArgument);
  CHECK_THROWS_AS((void)trim(own(2, 3), from, valid, Rows<float>(out.data(), 3, 1)),
                  dpgather::InvalidArgument);
  CHECK_THROWS_WITH_AS((void)trim(own(2, 3), from, valid, Rows<float>(slots.data() + 6, 3, 2)),
                       "[trim] out overlaps slots", dpgather::InvalidArgument);
  CHECK(out == std::vector<float>(3, -1.0f));
  CHECK(slots == std::vector<float>(12, 1.0f));
}

TEST_CASE("a graph cannot hold a compaction, whose counts are read on the host") {
  dpgather::Recording recording;
  std::vector<float> slots(2), out(2);
  const std::vector<std::int32_t> valid = {1, 1};
  CHECK_THROWS_AS(
      (void)TrimCompact{}(own(2, 1), Rows<float>(slots.data(), 2, 1), valid,
                          Rows<float>(out.data(), 2, 1), {}, dpgather::HostStream(recording)),
      dpgather::InvalidArgument);
}
