// Padding rows of the global buffer, against a row-by-row computation.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/exchange/valid_rows.hpp>

#include "support/seed.hpp"

namespace {

using dpgather::HostStream;
using dpgather::Rows;
using dpgather::ValidRows;

struct Layout {
  std::vector<std::int64_t> valid, offsets;
  std::int64_t global_len = 0;
  std::vector<std::uint8_t> expected;  // 1 where a row exists

  void add(std::int64_t len, std::int64_t rows) {
    offsets.push_back(static_cast<std::int64_t>(expected.size()));
    valid.push_back(rows);
    for (std::int64_t i = 0; i < len; ++i) expected.push_back(i < rows ? 1 : 0);
    global_len = static_cast<std::int64_t>(expected.size());
  }
  void tail(std::int64_t rows) {
    expected.insert(expected.end(), static_cast<std::size_t>(rows), 0);
    global_len += rows;
  }
  [[nodiscard]] ValidRows view() const {
    return {valid.data(), offsets.data(), static_cast<std::int64_t>(valid.size()), global_len};
  }
};

constexpr float poison = std::numeric_limits<float>::quiet_NaN();

int wrong_rows(const Layout& layout) {
  const auto rows = static_cast<std::size_t>(layout.global_len);
  std::vector<float> data(rows * 4);
  std::vector<std::int32_t> ids(rows * 3);
  std::vector<std::uint8_t> mask(rows, 7);
  for (std::size_t i = 0; i < rows; ++i) {
    const bool real = layout.expected[i] == 1;
    for (std::size_t j = 0; j < 4; ++j) data[i * 4 + j] = real ? static_cast<float>(i + 1) : poison;
    for (std::size_t k = 0; k < 3; ++k) ids[i * 3 + k] = static_cast<std::int32_t>(i);
  }
  // Width 3 of stride 4: the last column belongs to somebody else.
  zero_tail(layout.view(), Rows<float>(data.data(), layout.global_len, 3, 4));
  fill_sentinel(layout.view(), Rows<std::int32_t>(ids.data(), layout.global_len, 3));
  row_mask(layout.view(), mask.data());
  int wrong = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    const bool real = layout.expected[i] == 1;
    for (std::size_t j = 0; j < 3; ++j) {
      const float value = data[i * 4 + j];
      wrong += value == (real ? static_cast<float>(i + 1) : 0.0f) && !std::signbit(value) ? 0 : 1;
      wrong += ids[i * 3 + j] == (real ? static_cast<std::int32_t>(i) : -1) ? 0 : 1;
    }
    wrong += std::isnan(data[i * 4 + 3]) == !real ? 0 : 1;
    wrong += mask[i] == layout.expected[i] ? 0 : 1;
  }
  return wrong;
}

}  // namespace

TEST_CASE("rows that exist are kept and all others are defined, for any blocks") {
  support::Random random(support::seed("pad mask", 11));
  for (int round = 0; round < 2000; ++round) {
    Layout layout;
    const auto blocks = random.between(0, 9);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t len = random.chance(30) ? 0 : random.between(0, 12);
      layout.add(len, random.chance(20) ? 0 : random.between(0, len));
    }
    layout.tail(random.between(0, 6));
    CAPTURE(round);
    REQUIRE(wrong_rows(layout) == 0);
  }
}

TEST_CASE("NaN in padding rows becomes zero, idle ranks' blocks included") {
  Layout layout;
  layout.add(4, 3);
  layout.add(4, 0);  // idle
  layout.add(0, 0);  // idle, without a block
  layout.add(4, 4);
  layout.tail(4);
  CHECK(wrong_rows(layout) == 0);
}

TEST_CASE("a replayed recording sees the counts of its own step") {
  Layout layout;
  layout.add(3, 3);
  layout.add(3, 1);
  std::vector<std::uint8_t> mask(6);
  std::vector<std::int32_t> ids(6, 4);
  std::vector<float> rows(6, 2.0f);
  dpgather::Recording recording;
  const HostStream capture(recording);
  row_mask(layout.view(), mask.data(), capture);
  fill_sentinel(layout.view(), Rows<std::int32_t>(ids.data(), 6, 1), -9, capture);
  zero_tail(layout.view(), Rows<float>(rows.data(), 6, 1), capture);
  CHECK(mask == std::vector<std::uint8_t>(6, 0));  // only recorded
  CHECK(recording.operation(0) == "row_mask");
  layout.valid[0] = 1;
  layout.valid[1] = 2;
  recording.replay();
  CHECK(mask == std::vector<std::uint8_t>{1, 0, 0, 1, 1, 0});
  CHECK(ids == std::vector<std::int32_t>{4, -9, -9, 4, 4, -9});
  CHECK(rows == std::vector<float>{2, 0, 0, 2, 2, 0});
}

TEST_CASE("a buffer shorter than the global len is refused before a row is written") {
  Layout layout;
  layout.add(4, 1);
  std::vector<float> data(3, poison);
  CHECK_THROWS_WITH_AS(zero_tail(layout.view(), Rows<float>(data.data(), 3, 1)),
                       "[zero_tail] buffer has 3 rows, global_len is 4", dpgather::InvalidArgument);
  CHECK(std::isnan(data[2]));
  CHECK_THROWS_AS(row_mask(layout.view(), nullptr), dpgather::InvalidArgument);
  CHECK_THROWS_AS(dpgather::row_mask({nullptr, nullptr, 1, 0}, nullptr), dpgather::InvalidArgument);
  CHECK_THROWS_AS(dpgather::row_mask({nullptr, nullptr, -1, 0}, nullptr),
                  dpgather::InvalidArgument);
}
