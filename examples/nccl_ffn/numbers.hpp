// Weights and rows that make every sum exact, in any order and in bf16: small whole numbers, and
// few of them in a sum. So output rows are compared bit by bit.
#pragma once

#include <cstdint>

#include <dpgather/core/config.hpp>

namespace nccl_ffn {

DPGATHER_HD inline std::uint64_t scramble(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15u ^ b * 0xc2b2ae3d27d4eb4fu ^ c * 0x165667b19e3779f9u;
  x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
  return x ^ (x >> 29);
}

/// One weight that is not zero: that of input `from`.
struct Term {
  std::int64_t from;
  int weight;  ///< 1 or -1
};

inline constexpr int inner_terms = 16, outer_terms = 5, values = 4;
// An inner value is at most 16 * 3, an output at most 5 of these: bf16 has all integers up to 256.
static_assert(outer_terms * inner_terms * (values - 1) <= 256);

enum class Matrix : std::uint8_t { in, out };

/// The k-th term of output `to` of one matrix of one layer, with `inputs` inputs.
inline Term term(std::uint64_t seed, int layer, Matrix matrix, std::int64_t to, int k,
                 std::int64_t inputs) {
  const std::uint64_t x =
      scramble(seed * 2 + static_cast<std::uint64_t>(matrix), static_cast<std::uint64_t>(layer),
               static_cast<std::uint64_t>(to * 64 + k));
  return {static_cast<std::int64_t>((x >> 8) % static_cast<std::uint64_t>(inputs)),
          (x & 1) != 0 ? 1 : -1};
}

/// Column j of the row that goes into the first layer, 0 to 3.
DPGATHER_HD inline int embed(std::int32_t id, std::int64_t position, std::int64_t j) {
  return static_cast<int>(scramble(static_cast<std::uint64_t>(id),
                                   static_cast<std::uint64_t>(position),
                                   static_cast<std::uint64_t>(j)) >>
                          40) %
         values;
}
/// Between layers, in place of attention and a norm: back to 0 to 3.
DPGATHER_HD inline int mix(float output, int layer, std::int64_t j) {
  return (static_cast<int>(output) + layer + static_cast<int>(j)) & (values - 1);
}

}  // namespace nccl_ffn
