#include <array>
#include <cstring>
#include <stdexcept>

#include <doctest/doctest.h>

#include <dpgather/comm/callable_control.hpp>

using namespace dpgather;

namespace {

/// An all-gather of two ranks whose other rank always says what this one says, plus one.
void echo(std::span<const std::byte> mine, std::span<std::byte> all) {
  std::memcpy(all.data(), mine.data(), mine.size());
  for (std::size_t i = 0; i < mine.size(); ++i) all[mine.size() + i] = std::byte(int(mine[i]) + 1);
}

}  // namespace

TEST_CASE("the user's all-gather runs in wait, on the record that was posted") {
  CallableControl control(0, 2, echo);
  std::array<std::byte, 2> mine{std::byte{4}, std::byte{9}};
  std::array<std::byte, 4> all{};
  control.post(mine);
  mine = {};  // post copied it
  control.wait(all);
  CHECK(all == std::array{std::byte{4}, std::byte{9}, std::byte{5}, std::byte{10}});
}

TEST_CASE("an exception of the user's all-gather fails the control plane for good") {
  CallableControl control(0, 1, [](std::span<const std::byte>, std::span<std::byte>) {
    throw std::runtime_error("store is gone");
  });
  std::array<std::byte, 1> byte{};
  control.post(byte);
  CHECK_THROWS_WITH_AS(control.wait(byte), doctest::Contains("store is gone"), PeerError);
  CHECK_THROWS_AS(control.post(byte), PeerError);
}

TEST_CASE("post and wait alternate, and sizes agree") {
  CallableControl control(0, 2, echo);
  std::array<std::byte, 1> mine{};
  std::array<std::byte, 3> wrong{};
  CHECK_THROWS_AS(control.wait(wrong), InvalidArgument);
  control.post(mine);
  CHECK_THROWS_WITH_AS(control.post(mine), doctest::Contains("twice"), InvalidArgument);
  CHECK_THROWS_WITH_AS(control.wait(wrong), doctest::Contains("room for 3 bytes"), InvalidArgument);
  CHECK_THROWS_AS((CallableControl(2, 2, echo)), InvalidArgument);
}
