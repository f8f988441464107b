#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/exchange/row_ops.hpp>

using namespace dpgather;

namespace {
const float poison = std::numeric_limits<float>::quiet_NaN();
}

TEST_CASE("pads are zero by select: NaN in the source does not leak") {
  const std::vector<float> from(12, poison);
  std::vector<float> to(12, poison);
  detail::select_rows(Rows<const float>(from.data(), 2, 2, 6), Rows<float>(to.data(), 6, 2), 2, 4,
                      0);
  for (std::size_t i = 0; i < 12; ++i) CHECK((i < 4 ? std::isnan(to[i]) : to[i] == 0.0f));
}

TEST_CASE("select copies the rows below valid and zeroes the rest of its range only") {
  for (const std::int64_t stride : {2, 5}) {
    std::vector<float> from(40), to(40, -1.0f);
    for (std::int64_t i = 0; i < 6; ++i)
      from[static_cast<std::size_t>(i * stride)] = static_cast<float>(i + 1);
    const Rows<float> out(to.data(), 6, 2, stride);
    detail::select_rows(Rows<const float>(from.data(), 6, 2, stride), out, 1, 4, 3);
    CHECK(out(0, 0) == -1.0f);
    CHECK(out(1, 0) == 2.0f);
    CHECK(out(2, 0) == 3.0f);
    CHECK(out(3, 0) == 0.0f);
    CHECK(out(4, 1) == 0.0f);
    CHECK(out(5, 0) == -1.0f);
    if (stride == 5) CHECK(to[4] == -1.0f);  // gaps between rows are nobody's to write
  }
}

TEST_CASE("rows that lie where they should are not touched") {
  std::vector<float> data{1, 2, 3, 4};
  const Rows<float> rows(data.data(), 2, 2);
  detail::select_rows<float>(rows, rows, 0, 2, 2);
  CHECK(data == std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("all pads of a global buffer are zeroed: ends of blocks and the tail") {
  std::vector<std::int64_t> valid{2, 0, 1}, offsets{0, 3, 3}, lens{3, 0, 2};
  std::int64_t error = 0;
  const CountsView counts{.valid = valid.data(),
                          .offsets = offsets.data(),
                          .lens = lens.data(),
                          .error = &error,
                          .blocks = 3};
  std::vector<float> data(7, poison);
  for (const std::size_t real : {0, 1, 3}) data[real] = 5;
  detail::zero_pads(Rows<float>(data.data(), 7, 1), counts);
  CHECK(data == std::vector<float>{5, 5, 0, 5, 0, 0, 0});
  CHECK(error == 0);
}

TEST_CASE("a count above the len is clamped and leaves its size in the error word") {
  std::vector<std::int64_t> words{9, 0, 9};
  std::int64_t error = 0;
  const CountsView counts{.valid = words.data(),
                          .offsets = words.data() + 1,
                          .lens = words.data() + 2,
                          .error = &error,
                          .blocks = 1};
  CHECK(counts.own_valid(4) == 4);
  CHECK(error == 9);
  CHECK(counts.own_valid(16) == 9);
  std::vector<float> data(4, 1.0f);
  detail::zero_pads(Rows<float>(data.data(), 4, 1), counts);
  CHECK(data == std::vector<float>(4, 1.0f));
}
