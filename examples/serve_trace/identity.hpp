// What the hidden vector of a token row holds: small integers that spell which row it is.
#pragma once

#include <cstdint>

#include "options.hpp"

namespace serve_trace {

inline constexpr int id_row_bits = 22, id_rank_bits = 10, id_step_bits = 31;
inline constexpr int id_digits = (id_row_bits + id_rank_bits + id_step_bits) / 3;  // base 8
static_assert(id_digits * 3 == 63 && id_digits <= min_hidden);

/// Differs for any two rows of a run: `step` < 2^31, `dp_rank` < 2^10, `row` < 2^22.
[[nodiscard]] constexpr std::int64_t row_id(std::int64_t step, std::int64_t dp_rank,
                                            std::int64_t row) {
  return ((step << id_rank_bits | dp_rank) << id_row_bits) | row;
}

[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t x) {  // SplitMix64's finaliser
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Stands for attention: `hidden` (>= min_hidden) values 0..7. The first columns are the digits of
/// `id`, which makes the row unique; the others hash everything that attention was given.
constexpr void fill_row(std::int64_t id, std::int64_t position, std::int64_t seq_len, float* row,
                        std::int64_t hidden) {
  auto digits = static_cast<std::uint64_t>(id);
  std::uint64_t state = mix(digits ^ mix(static_cast<std::uint64_t>(position) ^
                                         mix(static_cast<std::uint64_t>(seq_len))));
  for (std::int64_t column = 0; column < hidden;) {
    for (int i = 0; i < id_digits && column < hidden; ++i, digits >>= 3)
      row[column++] = static_cast<float>(digits & 7u);
    digits = state;
    state = mix(state);
  }
}

}  // namespace serve_trace
