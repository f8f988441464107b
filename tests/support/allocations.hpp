// Counts calls of operator new, for tests that say "allocates nothing".
#pragma once

#include <cstdint>

namespace support {

/// Allocations through operator new since the program (or thread) started. Take the difference
/// around the code under test; make sure that it is not 0 for code that must allocate.
[[nodiscard]] std::uint64_t allocations_of_this_thread() noexcept;
[[nodiscard]] std::uint64_t allocations_of_all_threads() noexcept;

/// While one lives its thread's allocations are not counted: those that a test double makes.
class Uncounted {
 public:
  Uncounted() { ++depth(); }
  Uncounted(const Uncounted&) = delete;
  Uncounted& operator=(const Uncounted&) = delete;
  ~Uncounted() { --depth(); }
  [[nodiscard]] static int& depth() noexcept {
    thread_local int value = 0;
    return value;
  }
};

}  // namespace support
