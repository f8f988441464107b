// What steps cost at given shapes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include <dpgather/tune/load_histogram.hpp>

namespace tune_sizes {

/// Summed over steps, by weight.
struct Cost {
  double rows = 0;            ///< that exist
  double ffn_rows = 0;        ///< computed, pads included
  double attention_rows = 0;  ///< of all ranks
  double weight = 0;
  double eager = 0;  ///< weight of steps above the largest shape, which are in no other figure

  [[nodiscard]] double ffn() const { return rows > 0 ? ffn_rows / rows : 0; }
  [[nodiscard]] double attention() const { return rows > 0 ? attention_rows / rows : 0; }
  /// FFN rows and weighted attention rows a step.
  [[nodiscard]] double per_step(int attention_percent) const {
    return weight > 0 ? (ffn_rows + attention_percent * attention_rows / 100) / weight : 0;
  }
};

/// `shape_of(step)` is the shape that a step runs at, or none.
template <class ShapeOf>
[[nodiscard]] Cost judge(std::span<const dpgather::LoadEntry> steps, int ranks,
                         const ShapeOf& shape_of) {
  Cost cost;
  for (const dpgather::LoadEntry& entry : steps) {
    const auto weight = static_cast<double>(entry.weight) / dpgather::LoadEntry::one_step;
    const std::optional<dpgather::SizePair> shape = shape_of(entry.step);
    if (!shape) {
      cost.eager += weight;
      continue;
    }
    cost.rows += weight * static_cast<double>(entry.step.global);
    cost.ffn_rows += weight * static_cast<double>(shape->global);
    cost.attention_rows += weight * static_cast<double>(ranks * shape->local);
    cost.weight += weight;
  }
  return cost;
}

}  // namespace tune_sizes
