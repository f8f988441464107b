// What a graph cache did, and why steps ran eagerly.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>

#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

enum class EagerReason : std::uint8_t {
  none,
  prefill,              ///< a rank prefills
  vote,                 ///< a rank voted against graphs
  no_rows,              ///< no rank has any row
  too_large,            ///< more requests than the largest size, or than the gather's buffers
  mode_not_capturable,  ///< the gather mode takes counts as arguments
  capture_failed,       ///< a capture of this key failed on some rank
  caller,               ///< the caller asked for an exact shape
  warm_up,              ///< a key's first step on a device; its graph was captured after it
  over_budget,          ///< this key's graph alone is above the budget, or came when it was spent
};
inline constexpr std::size_t eager_reasons = 10;

[[nodiscard]] constexpr std::string_view name(EagerReason reason) {
  constexpr std::string_view names[eager_reasons] = {
      "none",           "prefill", "vote",    "no_rows",    "too_large", "mode_not_capturable",
      "capture_failed", "caller",  "warm_up", "over_budget"};
  return names[static_cast<std::size_t>(reason)];
}

/// Rows are summed over the DP ranks of this rank's FFN group and over replayed steps.
struct GraphStatistics {
  std::uint64_t captures = 0;  ///< of graphs that were kept; a key that was evicted counts anew
  std::uint64_t failed_captures = 0;  ///< on any rank
  std::uint64_t over_budget = 0;      ///< captures that were not kept
  std::uint64_t replays = 0;
  std::uint64_t invalidations = 0;
  std::uint64_t evictions = 0;
  std::uint64_t retunings = 0;                       ///< times that sizes became others
  std::array<std::uint64_t, eager_reasons> eager{};  ///< steps by EagerReason
  std::uint64_t graph_bytes = 0;                     ///< of the graphs held now, on this rank
  std::uint64_t agreed_bytes =
      0;  ///< likewise, each as on the rank where it takes most: what a budget limits
  std::uint64_t rows = 0;            ///< rows that existed
  std::uint64_t attention_rows = 0;  ///< local_len times DP ranks
  std::uint64_t ffn_rows = 0;        ///< global_len

  /// A replay of `shape` with the rows of the DP ranks of one FFN group; returns their sum.
  std::uint64_t add_replay(const ShapeKey& shape, Counts group) {
    const auto existing = static_cast<std::uint64_t>(sum(group));
    ++replays;
    rows += existing;
    attention_rows += static_cast<std::uint64_t>(shape.local_len) * group.size();
    ffn_rows += static_cast<std::uint64_t>(shape.global_len);
    return existing;
  }
  [[nodiscard]] std::uint64_t eager_steps() const {
    return std::accumulate(eager.begin(), eager.end(), std::uint64_t{0});
  }
  [[nodiscard]] std::uint64_t padded_attention_rows() const { return attention_rows - rows; }
  [[nodiscard]] std::uint64_t padded_ffn_rows() const { return ffn_rows - rows; }
};

}  // namespace dpgather
