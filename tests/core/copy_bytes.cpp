#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/copy_bytes.hpp>

#include "support/seed.hpp"

using dpgather::detail::copy_bytes;
using dpgather::detail::copy_past_caches;

namespace {

/// `copy(to, from, bytes)` copies that and nothing else, wherever both lie in a page.
void check_copies(support::Random& random, void (*copy)(void*, const void*, std::size_t)) {
  const auto offset = [&] { return static_cast<std::size_t>(random.between(0, 130)); };
  for (int i = 0; i < 2000; ++i) {
    const std::size_t from = offset(), to = offset();
    const auto bytes = static_cast<std::size_t>(random.between(0, random.chance(50) ? 70 : 5000));
    std::vector<std::byte> source(from + bytes);
    for (std::byte& byte : source) byte = static_cast<std::byte>(random.between(0, 255));
    std::vector<std::byte> target(to + bytes + 100, std::byte{0xa5});
    std::vector<std::byte> expected = target;
    std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(from), bytes,
                expected.begin() + static_cast<std::ptrdiff_t>(to));
    copy(target.data() + to, source.data() + from, bytes);
    REQUIRE(target == expected);
  }
}

}  // namespace

TEST_CASE("a copy copies from any address to any, and touches nothing beside") {
  support::Random random(support::seed("copy_bytes", 20261127));
  check_copies(random, copy_bytes);
}

TEST_CASE("a copy past the caches does, too") {
  support::Random random(support::seed("copy_past_caches", 20261127));
  check_copies(random, copy_past_caches);
}

TEST_CASE("source and target may be some bytes apart modulo a page, where memcpy alone is slow") {
  std::vector<std::byte> memory(64 * 1024);
  for (std::size_t ahead = 0; ahead <= 70; ++ahead) {
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::byte>(i * 7 >> 3);
    std::byte* const to = memory.data() + 32 * 1024 + ahead;
    copy_bytes(to, memory.data(), 9000);
    REQUIRE(std::equal(to, to + 9000, memory.data()));
    REQUIRE(to[-1] == static_cast<std::byte>((32 * 1024 + ahead - 1) * 7 >> 3));
    REQUIRE(to[9000] == static_cast<std::byte>((32 * 1024 + ahead + 9000) * 7 >> 3));
  }
}
