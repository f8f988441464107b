// How many rows of a model's output are a rank's own, per forward mode.
#pragma once

#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/forward.hpp>

namespace dpgather {

/// What the output has a row for, where the forward mode alone does not say.
enum class Output : std::uint8_t {
  by_mode,      ///< the table of `output_rows`
  per_token,    ///< a row a token: hidden states before any indexing
  per_request,  ///< a row a request: after last-token indexing, or a per-request value
};

/// A rank's own counts, before padding.
struct OwnRows {
  Forward forward = Forward::idle;  ///< of the rank itself
  std::int64_t tokens = 0;
  std::int64_t requests = 0;
  std::int32_t width = 1;  ///< rows per request
};

/// Rows to keep, never padded ones.
///
/// | forward mode | by_mode |
/// |---|---|
/// | decode, idle | batch size |
/// | extend, mixed | sum of the extend lengths, which is the token rows |
/// | draft decode | rows of the hidden states before padding |
/// | target verify | batch size * rows per request |
/// | draft extend | batch size (accept lengths too) |
[[nodiscard]] constexpr std::int64_t output_rows(const OwnRows& own,
                                                 Output output = Output::by_mode) {
  if (output == Output::per_token) return own.tokens;
  if (output == Output::per_request) return own.requests;
  switch (own.forward) {
    case Forward::extend:
    case Forward::mixed:
    case Forward::draft_decode:
      return own.tokens;
    case Forward::target_verify:
      return own.requests * own.width;
    case Forward::idle:
    case Forward::decode:
    case Forward::draft_extend:
      break;
  }
  return own.requests;
}

}  // namespace dpgather
