// What a graph is looked up by: a ShapeKey, or a key of the user's that holds one.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>

#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// A key of your own holds the ShapeKey in `shape` besides what else is baked (say a LoRA variant).
/// It must be the same on all ranks: make it from the step's user bytes, not from what this rank
/// alone knows.
template <class K>
concept GraphKey = std::equality_comparable<K> && std::copyable<K> && requires(const K& key) {
  { std::hash<K>{}(key) } -> std::same_as<std::size_t>;
} &&(std::same_as<K, ShapeKey> || requires(const K& key) {
  { key.shape } -> std::convertible_to<ShapeKey>;
});

[[nodiscard]] inline const ShapeKey& shape_of(const ShapeKey& key) {
  return key;
}
template <GraphKey Key>
[[nodiscard]] const ShapeKey& shape_of(const Key& key) {
  return key.shape;
}

}  // namespace dpgather
