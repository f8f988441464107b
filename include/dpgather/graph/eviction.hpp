// Eviction policies: which graph goes when another is captured.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace dpgather {

/// Told of every use; asked before each capture for a key to drop. Must depend on these calls
/// alone: they are the same on all ranks, so that all ranks hold the same keys.
template <class E, class Key>
concept EvictionPolicy = requires(E& eviction, const Key& key, std::size_t held) {
  eviction.used(key);
  eviction.dropped(key);
  { eviction.victim(held) } -> std::convertible_to<std::optional<Key>>;
};

/// Nothing is ever dropped.
struct KeepAll {
  template <class Key>
  void used(const Key&) {}
  template <class Key>
  void dropped(const Key&) {}
  [[nodiscard]] std::nullopt_t victim(std::size_t) const { return std::nullopt; }
};

}  // namespace dpgather
