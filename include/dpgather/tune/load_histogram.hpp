// How often steps needed which shape, in a few kB.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/shape_cost.hpp>
#include <dpgather/plan/size_policy.hpp>

namespace dpgather {

/// Steps that needed a shape that holds `step`. Weights are in 1/1024 of a step, so that something
/// is left of a rare step when it decays.
struct LoadEntry {
  static constexpr std::int64_t one_step = 1024;

  SizePair step;
  std::int64_t weight = one_step;

  friend constexpr bool operator==(const LoadEntry&, const LoadEntry&) = default;
};

struct HistogramOptions {
  ShapeCost cost = {};                      ///< says which axis is cheaper to coarsen
  SizePair largest = {max_rows, max_rows};  ///< steps above it run eagerly and are counted apart
  std::int64_t capacity = 1024;             ///< distinct entries, 24 bytes each
};

/// Constant memory: when `capacity` is exceeded, sizes are rounded *up* to a coarser unit on the
/// axis where that costs less, so that shapes found from it still hold every step. All arithmetic
/// is on whole numbers and no result depends on the order of `add` and `merge`: ranks that saw the
/// same steps have the same entries. Allocates when made and never again
/// (a copy does as it grows).
class LoadHistogram {
 public:
  static constexpr std::int64_t most_weight = std::int64_t{1} << 50;  ///< more is cut to this
  static constexpr std::int64_t most_entries = std::int64_t{1} << 16;

  explicit LoadHistogram(const HistogramOptions& options = {}) : options_(options) {
    const ErrorContext where{.operation = "LoadHistogram"};
    options.cost.check();
    require(options.capacity >= 1 && options.capacity <= most_entries, where, "capacity is ",
            options.capacity, ", must be 1 to ", most_entries);
    check_size(options.largest, 1, "largest");
    entries_.reserve(static_cast<std::size_t>(options.capacity) + 1);
  }
  /// Of saved entries, in any order.
  LoadHistogram(const HistogramOptions& options, std::span<const LoadEntry> saved)
      : LoadHistogram(options) {
    for (const LoadEntry& entry : saved) add(entry.step.local, entry.step.global, entry.weight);
  }

  /// A step whose longest rank has `longest` requests and whose fullest FFN group `fullest`. One
  /// without any is not counted.
  void add(std::int64_t longest, std::int64_t fullest, std::int64_t weight = LoadEntry::one_step) {
    const SizePair step{longest, fullest};
    check_size(step, 0, "step");
    require(weight >= 0 && weight <= most_weight, {.operation = "LoadHistogram"}, "weight is ",
            weight, ", must be 0 to ", most_weight);
    if (longest == 0 || weight == 0) return;
    if (!options_.largest.holds(step)) {
      too_large_ = std::min(too_large_ + weight, most_weight);
      return;
    }
    insert({rounded(step), weight});
  }
  /// All that `other` counted, such as the histogram of another rank or hour. Entries above this
  /// one's largest are counted as too large.
  void merge(const LoadHistogram& other) {
    require(options_.cost == other.options_.cost && options_.capacity == other.options_.capacity,
            {.operation = "LoadHistogram"},
            "merge of histograms that differ in ranks, attention_percent or capacity");
    while (level_ < other.level_) coarsen();
    for (std::size_t i = 0; i < other.entries_.size(); ++i) {
      const LoadEntry entry = other.entries_[i];  // by value: `other` may be this one
      add(entry.step.local, entry.step.global, entry.weight);
    }
    too_large_ = std::min(too_large_ + other.too_large_, most_weight);
  }
  /// Every weight times keep / of, rounded down; what comes to 0 is dropped. As it empties, units
  /// get finer again.
  void decay(std::int64_t keep, std::int64_t of) {
    require(of >= 1 && of <= 1024 && keep >= 0 && keep <= of, {.operation = "LoadHistogram"},
            "decay to ", keep, " / ", of, ", must be 0 to 1 with a divisor of 1 to 1024");
    for (LoadEntry& entry : entries_) entry.weight = entry.weight * keep / of;
    too_large_ = too_large_ * keep / of;
    std::erase_if(entries_, [](const LoadEntry& entry) { return entry.weight == 0; });
    if (level_ > 0 && 2 * std::ssize(entries_) <= options_.capacity) set_level(level_ - 1);
  }

  /// Sorted by step; sizes are multiples of `unit`, or the largest.
  [[nodiscard]] std::span<const LoadEntry> entries() const { return entries_; }
  [[nodiscard]] SizePair unit() const { return unit_; }
  [[nodiscard]] const HistogramOptions& options() const { return options_; }
  /// Weight of steps above the largest shape.
  [[nodiscard]] std::int64_t too_large() const { return too_large_; }
  /// For the agreement: equal where the entries are.
  [[nodiscard]] std::uint64_t fingerprint() const {
    Hash hash;
    for (const LoadEntry& entry : entries_)
      hash.add(entry.step.local).add(entry.step.global).add(entry.weight);
    return hash.add(level_).add(too_large_).value();
  }

 private:
  static void check_size(const SizePair& size, std::int64_t least, std::string_view what) {
    require(size.local >= least && size.local <= max_rows && size.global >= least &&
                size.global <= max_rows,
            {.operation = "LoadHistogram"}, what, " ", size, " must have sizes of ", least, " to ",
            max_rows);
  }
  [[nodiscard]] SizePair rounded(const SizePair& step) const {
    return {std::min(round_up(step.local, unit_.local), options_.largest.local),
            std::min(round_up(step.global, unit_.global), options_.largest.global)};
  }
  void insert(const LoadEntry& entry) {
    const auto at = std::lower_bound(
        entries_.begin(), entries_.end(), entry.step,
        [](const LoadEntry& held, const SizePair& step) { return held.step < step; });
    if (at != entries_.end() && at->step == entry.step) {
      at->weight = std::min(at->weight + entry.weight, most_weight);
      return;
    }
    entries_.insert(at, entry);
    while (std::ssize(entries_) > options_.capacity) coarsen();
  }
  /// Units depend on the level alone, so that two histograms at one level have the same.
  void set_level(int level) {
    const ShapeCost cost{options_.cost.ranks, std::max(options_.cost.attention_percent, 1)};
    unit_ = {1, 1};
    for (level_ = 0; level_ < level; ++level_)
      (cost.of({0, unit_.global}) <= cost.of({unit_.local, 0}) ? unit_.global : unit_.local) *= 2;
  }
  void coarsen() {
    set_level(level_ + 1);
    for (LoadEntry& entry : entries_) entry.step = rounded(entry.step);
    std::sort(entries_.begin(), entries_.end(),
              [](const LoadEntry& a, const LoadEntry& b) { return a.step < b.step; });
    std::size_t kept = 0;
    for (std::size_t i = 1; i < entries_.size(); ++i) {
      LoadEntry& last = entries_[kept];
      if (last.step == entries_[i].step)
        last.weight = std::min(last.weight + entries_[i].weight, most_weight);
      else
        entries_[++kept] = entries_[i];
    }
    entries_.resize(std::min(entries_.size(), kept + 1));
  }

  HistogramOptions options_;
  SizePair unit_ = {1, 1};
  int level_ = 0;  ///< how often a unit was doubled
  std::int64_t too_large_ = 0;
  std::vector<LoadEntry> entries_;
};

}  // namespace dpgather
