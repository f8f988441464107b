// What a list of captured shapes must offer, with its two axes in requests.
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <dpgather/core/error.hpp>

namespace dpgather {

/// A captured shape in *requests*: lens are these times the rows per request. Also what a step
/// needs: the requests of its longest rank, and those of its fullest FFN group.
struct SizePair {
  std::int64_t local = 0;   ///< of one rank (attention)
  std::int64_t global = 0;  ///< of the ranks of one FFN group together

  [[nodiscard]] constexpr bool holds(const SizePair& step) const {
    return local >= step.local && global >= step.global;
  }
  [[nodiscard]] std::string to_string() const { return concat("(", local, ", ", global, ")"); }
  friend constexpr auto operator<=>(const SizePair&, const SizePair&) = default;
  friend constexpr bool operator==(const SizePair&, const SizePair&) = default;  // for nvcc
};

/// `fit` is the smallest local size for `n` requests of one rank, where the global len follows from
/// it (MAX_LEN). `fit_pair` is a shape that holds a step on both axes (SUM_LEN). None: too large.
template <class S>
concept SizePolicy = requires(const S& sizes, std::int64_t n) {
  { sizes.fit(n) } -> std::same_as<std::optional<std::int64_t>>;
  { sizes.fit_pair(n, n) } -> std::same_as<std::optional<SizePair>>;
  { sizes.fingerprint() } -> std::same_as<std::uint64_t>;
};

/// Sizes that follow the traffic. A cache tells `note` what each step that a graph could have run
/// needed; true if that made new sizes, with the fingerprint `next`. Ranks compare it at their next
/// agreement, and behind that the cache lets `adopt` make `pairs` of them. All are functions of what
/// was noted. `fingerprint` stays, and is of all that the sizes may become.
template <class S>
concept LearningSizes = SizePolicy<S> && requires(S& sizes, const SizePair& needed) {
  { sizes.note(needed) } -> std::same_as<bool>;
  { sizes.next() } -> std::same_as<std::uint64_t>;
  sizes.adopt();
  { sizes.pairs() } -> std::convertible_to<std::span<const SizePair>>;
};

}  // namespace dpgather
