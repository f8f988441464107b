// Captured shapes as a list of pairs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/shape_cost.hpp>
#include <dpgather/plan/size_policy.hpp>

namespace dpgather {

/// Explicit shapes, such as a tuner finds. A step takes the cheapest that holds it; among equals
/// that with the smaller global, then the smaller local size.
class ShapeSizes {
 public:
  /// Any order; duplicates are dropped. A global size above W * local is cut to that, since no step
  /// has more.
  ShapeSizes(std::vector<SizePair> pairs, const ShapeCost& cost)
      : pairs_(std::move(pairs)), cost_(cost) {
    const ErrorContext where{.operation = "ShapeSizes"};
    cost.check();
    require(!pairs_.empty(), where, "no pair given, at least 1 is needed");
    for (SizePair& pair : pairs_) {
      require(pair.local >= 1 && pair.local <= max_rows, where, "local of ", pair, " must be 1 to ",
              max_rows);
      require(pair.global >= pair.local && pair.global <= max_rows, where, "global of ", pair,
              " must be its local to ", max_rows);
      pair.global = std::min(pair.global, cost.ranks * pair.local);
    }
    const auto order = [&cost](const SizePair& a, const SizePair& b) {
      const std::int64_t of_a = cost.of(a), of_b = cost.of(b);
      if (of_a != of_b) return of_a < of_b;
      return a.global != b.global ? a.global < b.global : a.local < b.local;
    };
    std::sort(pairs_.begin(), pairs_.end(), order);
    pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
    for (const SizePair& pair : pairs_) locals_.push_back(pair.local);
    std::sort(locals_.begin(), locals_.end());
    locals_.erase(std::unique(locals_.begin(), locals_.end()), locals_.end());
  }

  /// Smallest local size of the list that holds `n` requests.
  [[nodiscard]] std::optional<std::int64_t> fit(std::int64_t n) const {
    const auto it = std::lower_bound(locals_.begin(), locals_.end(), n);
    if (it == locals_.end()) return std::nullopt;
    return *it;
  }
  /// The cheapest pair that holds the step. One pass over a few contiguous pairs.
  [[nodiscard]] std::optional<SizePair> fit_pair(std::int64_t longest, std::int64_t fullest) const {
    const SizePair step{longest, fullest};
    for (const SizePair& pair : pairs_)
      if (pair.holds(step)) return pair;
    return std::nullopt;
  }
  /// Cheapest first.
  [[nodiscard]] std::span<const SizePair> pairs() const { return pairs_; }
  [[nodiscard]] std::span<const std::int64_t> locals() const { return locals_; }
  [[nodiscard]] const ShapeCost& cost() const { return cost_; }
  [[nodiscard]] std::uint64_t fingerprint() const {
    Hash hash;
    hash.add(cost_.fingerprint());
    for (const SizePair& pair : pairs_) hash.add(pair.local).add(pair.global);
    return hash.value();
  }

 private:
  std::vector<SizePair> pairs_;
  std::vector<std::int64_t> locals_;
  ShapeCost cost_;
};

static_assert(SizePolicy<ShapeSizes>);

}  // namespace dpgather
