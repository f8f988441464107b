// What a gather mode is told when it picks a transport, what it answers, and the count of answers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string_view>

#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// What a step may use: the same on all ranks, or they would pick different transports.
struct Allowed {
  bool captured = false;    ///< the step may run in a graph: counts cannot be arguments of calls
  bool peers = false;       ///< the ranks reach each other's memory
  bool host_peers = false;  ///< the ranks are on several hosts, and do so on each of them

  [[nodiscard]] constexpr bool may_take(Transport transport) const {
    if (captured && !graph_safe(transport)) return false;
    if (transport == Transport::sum_len_peer_store) return peers;
    if (transport == Transport::sum_len_hierarchical) return host_peers;
    return true;
  }
};

/// Why a step took its transport.
enum class ChoiceReason : std::uint8_t {
  given,                      ///< the shape is the caller's own; the mode would have picked another
  fixed_mode,                 ///< the mode knows one transport only
  rule_max_len,               ///< MAX_LEN: the rule says so
  no_padding,                 ///< MAX_LEN: the rule says so, and all ranks have equally many rows
  only_rows_that_exist,       ///< stores into peers' buffers: pads are neither moved nor computed
  across_hosts,               ///< in graphs, by hosts: padded between them only
  rule_sum_len,               ///< SUM_LEN by the eager transport: the rule says so
  captured_needs_graph_safe,  ///< SUM_LEN by all-reduce: the eager transport cannot be captured
  least_time,                 ///< the rule predicts the least time for it
  within_margin,              ///< another is predicted to be faster, by too little to change over
};
inline constexpr std::size_t choice_reasons = 10;

[[nodiscard]] constexpr std::string_view name(ChoiceReason reason) {
  constexpr std::string_view names[choice_reasons] = {"given",
                                                      "fixed_mode",
                                                      "rule_max_len",
                                                      "no_padding",
                                                      "only_rows_that_exist",
                                                      "across_hosts",
                                                      "rule_sum_len",
                                                      "captured_needs_graph_safe",
                                                      "least_time",
                                                      "within_margin"};
  return names[static_cast<std::size_t>(reason)];
}

/// No transport: a captured step cannot use the mode.
struct Choice {
  std::optional<Transport> transport;
  ChoiceReason reason = ChoiceReason::given;
  friend constexpr bool operator==(const Choice&, const Choice&) = default;
};

/// Steps by the reason of their transport.
struct ChoiceCounts {
  std::array<std::uint64_t, choice_reasons> steps{};

  void add(ChoiceReason reason) { ++steps[static_cast<std::size_t>(reason)]; }
  [[nodiscard]] std::uint64_t operator[](ChoiceReason reason) const {
    return steps[static_cast<std::size_t>(reason)];
  }
  [[nodiscard]] std::uint64_t total() const {
    return std::accumulate(steps.begin(), steps.end(), std::uint64_t{0});
  }
  friend bool operator==(const ChoiceCounts&, const ChoiceCounts&) = default;
};

}  // namespace dpgather
