// Seeds of random tests, printed so that a failure can be run again.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace support {

/// `otherwise`, unless the environment sets DPGATHER_TEST_SEED. Prints which it is.
inline std::uint64_t seed(const char* test, std::uint64_t otherwise) {
  const char* given = std::getenv("DPGATHER_TEST_SEED");
  const std::uint64_t value = given == nullptr ? otherwise : std::strtoull(given, nullptr, 0);
  std::printf("seed of \"%s\": %llu (set DPGATHER_TEST_SEED for another)\n", test,
              static_cast<unsigned long long>(value));
  return value;
}

/// Random numbers that are the same with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  /// Uniform enough in [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(0, 99) < percent; }
  std::uint64_t bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace support
