// Forward modes of a step and how those of several ranks combine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dpgather {

enum class Forward : std::uint8_t {
  idle,  ///< this rank has no rows
  decode,
  extend,  ///< prefill
  mixed,   ///< prefill and decode rows in one batch
  draft_decode,
  target_verify,
  draft_extend,
};
inline constexpr int forward_count = 7;

[[nodiscard]] constexpr std::string_view name(Forward forward) {
  constexpr std::string_view names[] = {"idle",         "decode",        "extend",      "mixed",
                                        "draft_decode", "target_verify", "draft_extend"};
  return names[static_cast<std::size_t>(forward)];
}

[[nodiscard]] constexpr bool is_prefill(Forward forward) {
  return forward == Forward::extend || forward == Forward::mixed;
}
/// A fixed number of rows per request, so that a graph can be captured for it.
[[nodiscard]] constexpr bool has_fixed_width(Forward forward) {
  return !is_prefill(forward);
}

/// Whether two ranks may be in these modes in the same step: an idle rank joins any; prefill and
/// decode mix.
[[nodiscard]] constexpr bool compatible(Forward a, Forward b) {
  const auto serves = [](Forward f) { return is_prefill(f) || f == Forward::decode; };
  return a == b || a == Forward::idle || b == Forward::idle || (serves(a) && serves(b));
}
/// The mode of the step as a whole, given that the two are compatible.
[[nodiscard]] constexpr Forward combine(Forward a, Forward b) {
  if (a == b || b == Forward::idle) return a;
  return a == Forward::idle ? b : Forward::mixed;
}

}  // namespace dpgather
