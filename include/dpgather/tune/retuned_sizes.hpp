// RetunedSizes: capture shapes that follow the traffic while it is served.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/shape_sizes.hpp>
#include <dpgather/tune/load_histogram.hpp>
#include <dpgather/tune/size_tuner.hpp>
#include <dpgather/tune/spread.hpp>

namespace dpgather {

/// A step's *excess* is what its shape costs above what it needs and a slack, in percent of that. It
/// adds up, and what steps stay below is taken off; in mean steps' cost, it says how badly shapes fit
/// by now. Traffic that moves off quickly has a slack and a patience of its own.
struct RetuneOptions {
  /// With a padding bound, since the traffic to come is not what was counted.
  TuneGoal goal = {.padding = {.percent = 200, .skew_percent = 150}};
  bool one_axis = false;    ///< shapes (size, W * size), for MAX_LEN
  int spread_percent = 40;  ///< see `spread`
  int slack_percent = 4, sudden_slack_percent = 10;
  int drift = 5;         ///< mean steps of excess above either slack that have shapes tuned
  int least_steps = 32;  ///< between two tunings, and patience at first: steps before a drift
                         ///< counts. It doubles each time; for a sudden drift it is 1/16
  int most_patience = 4096;
};

/// Starts with a chain of shapes that fits any traffic somehow, or with given ones. Counts what steps
/// need, and tunes anew when that has drifted from the shapes; the counts are halved then. Whole
/// numbers, and functions of what was noted: ranks that note the same steps have the same shapes in
/// every step. `note` may take some tenths of a second on the calling thread when it tunes (0.1 s on
/// one core for the traffic of docs/tune_sizes.md), else nanoseconds.
class RetunedSizes {
 public:
  /// Throws InvalidArgument unless the goal can be reached.
  explicit RetunedSizes(RetuneOptions options)
      : RetunedSizes(std::move(options), std::nullopt, nullptr) {}
  /// Starts with `shapes`, such as those of yesterday.
  RetunedSizes(RetuneOptions options, ShapeSizes shapes)
      : RetunedSizes(std::move(options), std::optional(std::move(shapes)), nullptr) {}
  /// And with what was counted then.
  RetunedSizes(RetuneOptions options, ShapeSizes shapes, const LoadHistogram& counted)
      : RetunedSizes(std::move(options), std::optional(std::move(shapes)), &counted) {}

  [[nodiscard]] std::optional<std::int64_t> fit(std::int64_t n) const { return shapes_.fit(n); }
  [[nodiscard]] std::optional<SizePair> fit_pair(std::int64_t longest, std::int64_t fullest) const {
    return shapes_.fit_pair(longest, fullest);
  }
  [[nodiscard]] std::span<const SizePair> pairs() const { return shapes_.pairs(); }
  [[nodiscard]] std::uint64_t fingerprint() const { return fingerprint_; }

  /// A step that needed a shape of this size. Tunes if it is time to; true if `adopt` has new shapes
  /// then.
  [[nodiscard]] bool note(const SizePair& needed) {
    if (needed.local == 0) return false;
    histogram_.add(needed.local, needed.global);
    const auto shape = fit_pair(needed.local, needed.global);
    if (!shape) return false;
    constexpr std::int64_t parts = 64;
    const ShapeCost& cost = tuner_.goal().cost;
    const std::int64_t need = cost.of(needed);
    mean_ = mean_ == 0 ? need : mean_ + (need - mean_) / parts;
    const std::int64_t above = 100 * (cost.of(*shape) - need);
    add(excess_, above - options_.slack_percent * need);
    add(sudden_excess_, above - options_.sudden_slack_percent * need);
    ++steps_;
    return is_time() && tune();
  }
  [[nodiscard]] std::uint64_t next() const { return next_ ? next_->fingerprint() : 0; }
  /// Nothing if there are no new shapes.
  void adopt() {
    if (next_) shapes_ = std::move(*next_);
    next_.reset();
  }

  /// What steps needed, older ones with less weight.
  [[nodiscard]] const LoadHistogram& histogram() const { return histogram_; }
  [[nodiscard]] const ShapeSizes& shapes() const { return shapes_; }
  [[nodiscard]] std::int64_t tunings() const { return tunings_; }

 private:
  RetunedSizes(RetuneOptions options, std::optional<ShapeSizes> shapes,
               const LoadHistogram* counted)
      : options_(checked(std::move(options))),
        tuner_(options_.goal),
        shapes_(shapes ? std::move(*shapes) : any_traffic(tuner_)),
        histogram_({.cost = options_.goal.cost, .largest = options_.goal.largest_pair()}),
        patience_(options_.least_steps) {
    static_cast<void>(tuner_.two_axes({}, Bound::left_out));  // says what cannot be, now
    if (counted != nullptr) histogram_.merge(*counted);
    const TuneGoal& goal = options_.goal;
    fingerprint_ = Hash{}
                       .add(shapes_.fingerprint())
                       .add(histogram_.fingerprint())
                       .add(goal.cost.fingerprint())
                       .add(goal.largest)
                       .add(goal.max_shapes)
                       .add(goal.unit())
                       .add(goal.rows_per_graph)
                       .add(goal.padding.percent)
                       .add(goal.padding.skew_percent)
                       .add(goal.byte_budget)
                       .add(options_.one_axis)
                       .add(options_.spread_percent)
                       .add(options_.slack_percent)
                       .add(options_.sudden_slack_percent)
                       .add(options_.drift)
                       .add(options_.least_steps)
                       .add(options_.most_patience)
                       .value();
  }
  [[nodiscard]] static RetuneOptions checked(RetuneOptions options) {
    constexpr int most = 1 << 16;
    const auto check = [most](int value, int least, std::string_view what) {
      require(value >= least && value <= most, {.operation = "RetunedSizes"}, what, " is ", value,
              ", must be ", least, " to ", most);
    };
    options.goal.check();
    require(options.spread_percent >= 0 && options.spread_percent < 100,
            {.operation = "RetunedSizes"}, "spread_percent is ", options.spread_percent,
            ", must be 0 to 99");
    check(options.slack_percent, 0, "slack_percent");
    check(options.sudden_slack_percent, options.slack_percent, "sudden_slack_percent");
    check(options.drift, 1, "drift");
    check(options.least_steps, 1, "least_steps");
    check(options.most_patience, options.least_steps, "most_patience");
    return options;
  }
  /// The closest chain of shapes that `max_shapes` has room for.
  [[nodiscard]] static ShapeSizes any_traffic(const SizeTuner& tuner) {
    constexpr int closest = 110, step = 5, usual_skew = 150;
    TuneGoal goal = tuner.goal();
    goal.padding.percent = closest;
    if (goal.padding.skew_percent == 0) goal.padding.skew_percent = usual_skew;
    auto pairs = detail::fixed_pairs(goal);
    while (std::ssize(pairs) > goal.max_shapes && goal.padding.percent < 10000) {
      goal.padding.percent += step;
      pairs = detail::fixed_pairs(goal);
    }
    if (std::ssize(pairs) > goal.max_shapes) pairs = {goal.largest_pair()};
    return ShapeSizes(std::move(pairs), goal.cost);
  }
  [[nodiscard]] bool is_time() const {
    return (steps_ >= patience_ && badly_off(excess_)) ||
           (steps_ >= std::max(options_.least_steps, patience_ / 16) && badly_off(sudden_excess_));
  }
  [[nodiscard]] bool tune() {
    const LoadHistogram load = spread(histogram_, options_.spread_percent);
    next_ = (options_.one_axis ? tuner_.one_axis(load.entries())
                               : tuner_.two_axes(load.entries(), Bound::left_out))
                .sizes(tuner_.goal().cost);
    histogram_.decay(1, 2);
    patience_ = std::min(2 * patience_, options_.most_patience);
    steps_ = excess_ = sudden_excess_ = 0;
    ++tunings_;
    if (next() == shapes_.fingerprint()) next_.reset();
    return next_.has_value();
  }
  /// Costs are below 2^41, so neither term comes near 2^63.
  static void add(std::int64_t& excess, std::int64_t more) {
    excess = std::clamp<std::int64_t>(excess + more, 0, std::int64_t{1} << 62);
  }
  [[nodiscard]] bool badly_off(std::int64_t excess) const {
    return excess / 100 > options_.drift * mean_;
  }

  RetuneOptions options_;
  SizeTuner tuner_;
  ShapeSizes shapes_;
  std::optional<ShapeSizes> next_;
  LoadHistogram histogram_;
  std::int64_t mean_ = 0;                        // cost that a step needs
  std::int64_t excess_ = 0, sudden_excess_ = 0;  // hundredths
  std::int64_t steps_ = 0;                       // since the last tuning
  int patience_;
  std::int64_t tunings_ = 0;
  std::uint64_t fingerprint_ = 0;
};

static_assert(LearningSizes<RetunedSizes>);

}  // namespace dpgather
