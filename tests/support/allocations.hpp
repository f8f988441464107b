// Counts calls of operator new, for tests that say "allocates nothing".
#pragma once

#include <cstdint>

namespace support {

/// Allocations through operator new since the program (or thread) started. Take the difference
/// around the code under test; make sure that it is not 0 for code that must allocate.
[[nodiscard]] std::uint64_t allocations_of_this_thread() noexcept;
[[nodiscard]] std::uint64_t allocations_of_all_threads() noexcept;

}  // namespace support
