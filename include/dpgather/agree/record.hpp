// What ranks tell each other once a step: one fixed-size record.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include <dpgather/plan/forward.hpp>

namespace dpgather {

inline constexpr int max_phases = 4;

/// One phase of a step as a rank posts it (draft, verify and extend of one step are three phases).
/// Counts may be upper bounds when the step is agreed before they are known exactly.
struct Phase {
  std::int64_t tokens = 0;    ///< token rows this rank has
  std::int64_t requests = 0;  ///< batch size
  std::int64_t logits = 0;    ///< rows that go to the language-model head
  Forward forward = Forward::idle;
  bool can_graph = true;   ///< this rank's vote; one "no" makes the phase eager everywhere
  std::int32_t width = 1;  ///< rows per request; ignored on idle ranks and in prefill
};

/// Bytes of the user's that every rank gets from every rank (a LoRA variant, a "finished" flag).
using UserBytes = std::array<std::byte, 16>;

namespace detail {

struct StepRecord {
  static constexpr std::uint32_t expected_magic = 0x64706733;  // "dpg3": layout of this struct

  std::uint32_t magic = expected_magic;
  std::int32_t rank = 0;
  std::int64_t step = 0;
  std::uint64_t policy = 0;
  std::uint64_t state = 0;
  std::int32_t phases = 0;
  std::int32_t failed = 0;
  // What every step reads lies together, so that judging touches two cache lines of a record.
  UserBytes user{};
  std::array<Phase, max_phases> phase{};
  std::uint64_t bytes = 0;          // of a graph that was captured
  std::uint64_t latest_bytes = 0;   // of the one before it, as it turned out
  std::array<char, 360> message{};  // why it failed, else the state in words

  /// Phases that nobody reads become zeros, which a board does not carry.
  void blank_phases_from(std::size_t first) {
    std::memset(static_cast<void*>(phase.data() + first), 0, (max_phases - first) * sizeof(Phase));
  }
  void set_message(std::string_view text) {
    const std::size_t n = text.copy(message.data(), message.size() - 1);
    if (n < text.size()) std::memcpy(message.data() + n - 3, "...", 3);
    std::fill(message.begin() + static_cast<std::ptrdiff_t>(n), message.end(), '\0');
  }
};
static_assert(std::is_trivially_copyable_v<StepRecord>);
static_assert(sizeof(StepRecord) % 8 == 0);

}  // namespace detail
}  // namespace dpgather
