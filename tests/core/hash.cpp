#include <cstdint>
#include <string_view>

#include <doctest/doctest.h>

#include <dpgather/core/hash.hpp>

using dpgather::Hash;

TEST_CASE("hash of a value is FNV-1a of its eight bytes, low byte first") {
  // Published vectors: FNV-1a-64 starts at this offset basis; eight zero bytes multiply it on.
  CHECK(Hash{}.value() == 0xcbf29ce484222325u);
  std::uint64_t expected = 0xcbf29ce484222325u;
  for (const std::uint64_t byte : {0x88u, 0x77u, 0x66u, 0x55u, 0x44u, 0x33u, 0x22u, 0x11u})
    expected = (expected ^ byte) * 0x100000001b3u;
  CHECK(Hash{}.add(std::uint64_t{0x1122334455667788u}).value() == expected);
}

TEST_CASE("hash tells order, sign and text boundaries apart") {
  const auto text = [](std::string_view a, std::string_view b) {
    return Hash{}.add(a).add(b).value();
  };
  CHECK(Hash{}.add(1).add(2).value() != Hash{}.add(2).add(1).value());
  CHECK(Hash{}.add(1).value() != Hash{}.add(-1).value());
  CHECK(text("ab", "c") != text("a", "bc"));
  CHECK(text("", "") != Hash{}.add(std::string_view("")).value());
}

TEST_CASE("hash does not depend on the width of an integer type") {
  CHECK(Hash{}.add(std::int32_t{-5}).value() == Hash{}.add(std::int64_t{-5}).value());
  static_assert(Hash{}.add(1).value() != 0);
}
