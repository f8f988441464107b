// Rounding policies: what a MAX_LEN local len is rounded up to beyond the alignment it needs
// anyway.
#pragma once

#include <concepts>
#include <cstdint>

#include <dpgather/core/hash.hpp>
#include <dpgather/plan/counts.hpp>

namespace dpgather {

/// A policy maps a len (rows, > 0) to one at least as large. The planner then aligns the result.
template <class R>
concept RoundingPolicy = requires(const R& rounding, std::int64_t len) {
  { rounding(len) } -> std::same_as<std::int64_t>;
  { rounding.fingerprint() } -> std::same_as<std::uint64_t>;
};

/// No rounding: only the rows that the largest rank has.
struct ExactLen {
  [[nodiscard]] constexpr std::int64_t operator()(std::int64_t len) const { return len; }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const { return 1; }
};

/// Multiples of N rows, as GEMM tiles like them.
template <std::int64_t N>
struct RoundUp {
  static_assert(N >= 1, "RoundUp<N>: N rows, at least 1");
  [[nodiscard]] constexpr std::int64_t operator()(std::int64_t len) const {
    return round_up(len, N);
  }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const { return Hash{}.add(2).add(N).value(); }
};

static_assert(RoundingPolicy<ExactLen> && RoundingPolicy<RoundUp<8>>);

}  // namespace dpgather
