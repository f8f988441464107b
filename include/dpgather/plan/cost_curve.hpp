// How long a transport takes by the bytes that it moves: at most two straight lines.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>

namespace dpgather {

namespace detail {

/// Times are small: 3e-07, not 0.000000.
[[nodiscard]] inline std::string digits(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}
inline void check_cost(double value, std::string_view what, const ErrorContext& where) {
  require(std::isfinite(value) && value >= 0, where, what, " is ", digits(value),
          ", must be a finite number that is not negative");
}

}  // namespace detail

/// Seconds over bytes: `latency + bytes * seconds_per_byte` below a break, and from there on another
/// line, since libraries go over to another protocol at some size and caches overflow. It may jump
/// up at the break, and never falls. Source: the latency-bandwidth model of Hockney (1994), with
/// the switch of protocols as in LogGPS (Ino et al. 2001).
struct CostCurve {
  struct Break {
    double bytes = 0;             ///< the second line begins here
    double seconds = 0;           ///< at the break, not less than the first line
    double seconds_per_byte = 0;  ///< after it
    friend bool operator==(const Break&, const Break&) = default;
  };
  double latency = 0;           ///< seconds at 0 bytes
  double seconds_per_byte = 0;  ///< below the break
  std::optional<Break> after = {};

  [[nodiscard]] double seconds(double bytes) const {
    if (after && bytes >= after->bytes)
      return after->seconds + (bytes - after->bytes) * after->seconds_per_byte;
    return latency + bytes * seconds_per_byte;
  }
  /// Throws InvalidArgument unless it never falls and is nowhere negative.
  void check(const ErrorContext& where = {.operation = "CostCurve"}) const {
    detail::check_cost(latency, "latency", where);
    detail::check_cost(seconds_per_byte, "seconds_per_byte", where);
    if (!after) return;
    detail::check_cost(after->bytes, "the break's bytes", where);
    detail::check_cost(after->seconds, "the break's seconds", where);
    detail::check_cost(after->seconds_per_byte, "the break's seconds_per_byte", where);
    const double before = latency + after->bytes * seconds_per_byte;
    require(after->seconds >= before, where, "the break's seconds is ",
            detail::digits(after->seconds), ", must not be below the ", detail::digits(before),
            " that the first line comes to");
  }
  void add_to(Hash& hash) const {
    const auto add = [&hash](double value) {
      hash.add(detail::bit_cast<std::uint64_t>(value == 0 ? 0.0 : value));  // -0 is 0
    };
    add(latency);
    add(seconds_per_byte);
    hash.add(after.has_value());
    if (!after) return;
    add(after->bytes);
    add(after->seconds);
    add(after->seconds_per_byte);
  }
  friend bool operator==(const CostCurve&, const CostCurve&) = default;
};

}  // namespace dpgather
