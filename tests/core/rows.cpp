#include <numeric>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/rows.hpp>

using dpgather::Rows;

namespace {

std::vector<float> numbered(std::size_t count) {
  std::vector<float> data(count);
  std::iota(data.begin(), data.end(), 0.0f);
  return data;
}

}  // namespace

TEST_CASE("a view without a stride is contiguous") {
  auto data = numbered(12);
  const Rows view(data.data(), 3, 4);
  CHECK(view.stride() == 4);
  CHECK(view.contiguous());
  CHECK(view.size() == 12);
  CHECK_FALSE(view.empty());
  CHECK(view(2, 3) == 11.0f);
  CHECK(view.row(1) == data.data() + 4);
}

TEST_CASE("a stride skips elements between rows") {
  auto data = numbered(15);
  const Rows<float> view(data.data(), 3, 4, 5);
  CHECK_FALSE(view.contiguous());
  CHECK(view.size() == 12);
  CHECK(view(1, 0) == 5.0f);
  CHECK(view(2, 3) == 13.0f);
  view(2, 3) = -1.0f;
  CHECK(data[13] == -1.0f);
}

TEST_CASE("one row or none is contiguous whatever the stride") {
  auto data = numbered(8);
  CHECK(Rows<float>(data.data(), 1, 3, 8).contiguous());
  CHECK(Rows<float>(data.data(), 0, 3, 8).contiguous());
}

TEST_CASE("a slice keeps width and stride, and may be empty at the end") {
  auto data = numbered(20);
  const Rows<float> view(data.data(), 4, 3, 5);
  const Rows<float> middle = view.slice(1, 2);
  CHECK(middle.rows() == 2);
  CHECK(middle.width() == 3);
  CHECK(middle.stride() == 5);
  CHECK(middle(1, 2) == view(2, 2));
  CHECK(view.slice(4, 0).empty());
  CHECK(middle.slice(1, 1)(0, 0) == 10.0f);
}

TEST_CASE("mutable rows convert to constant rows, never back") {
  auto data = numbered(6);
  const Rows<float> view(data.data(), 2, 3, 3);
  const Rows<const float> constant = view;
  CHECK(constant.data() == data.data());
  CHECK(constant.rows() == 2);
  CHECK(constant(1, 2) == 5.0f);
  static_assert(std::is_convertible_v<Rows<float>, Rows<const float>>);
  static_assert(!std::is_convertible_v<Rows<const float>, Rows<float>>);
  static_assert(!std::is_convertible_v<Rows<double>, Rows<const float>>);
}

TEST_CASE("a default view is empty") {
  const Rows<float> view;
  CHECK(view.empty());
  CHECK(view.data() == nullptr);
  CHECK(view.size() == 0);
}
