// What a graph cache asks of an eviction policy, and the budget that every policy keeps.
#pragma once

#include <concepts>
#include <cstdint>

#include <dpgather/core/error.hpp>

namespace dpgather {

/// What the graphs of one cache may take together; 0 is no limit. A graph counts with its agreed
/// bytes: the most that it takes on any rank.
struct GraphBudget {
  std::int64_t graphs = 0;
  std::int64_t bytes = 0;

  void check() const {
    const ErrorContext where{.operation = "GraphBudget"};
    require(graphs >= 0, where, "graphs is ", graphs, ", must be 0 (no limit) or more");
    require(bytes >= 0, where, "bytes is ", bytes, ", must be 0 (no limit) or more");
  }
};

/// A held graph as policies see it. All of it follows from agreed records, so it is the same on all
/// ranks.
struct GraphUse {
  std::uint64_t bytes = 0;     ///< agreed
  std::uint64_t last_use = 0;  ///< the clock at its last replay, or at its capture
  std::uint64_t score = 0;     ///< the policy's own
  std::uint64_t scored = 0;    ///< likewise: when `score` was true
};

/// Chooses by what it is told alone, in integers, so that all ranks hold the same keys. `now` is the
/// cache's clock: captures and replays so far. `used` follows each replay of `rows` token rows (of
/// the FFN group); `goes_first(a, b, now)` says whether a is dropped rather than b, and where
/// neither goes first, the one that was used longest ago does. A policy with `evicts == false` is
/// asked nothing: a graph that does not fit is not kept.
template <class E>
concept EvictionPolicy = std::copyable<E> && requires(const E& policy) {
  { E::evicts } -> std::convertible_to<bool>;
  { policy.budget } -> std::convertible_to<GraphBudget>;
  { policy.fingerprint() } -> std::same_as<std::uint64_t>;
} &&(!E::evicts || requires(const E& policy, GraphUse& graph, std::uint64_t number) {
  policy.used(graph, number, number);
  { policy.goes_first(graph, graph, number) } -> std::convertible_to<bool>;
});

}  // namespace dpgather
