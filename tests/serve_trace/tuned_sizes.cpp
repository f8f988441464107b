// What tuned capture shapes would compute on the published conversation trace, of a decode instance.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/tune/load_histogram.hpp>
#include <dpgather/tune/size_tuner.hpp>

#include "conversation.hpp"
#include "replay.hpp"

using namespace serve_trace;
using dpgather::SizePair;

namespace {

/// What each live step needs: rows of the longest rank, and of all.
std::vector<SizePair> live_steps(int ranks) {
  const Options options{.serve = Serve::decode, .ranks = ranks, .speedup = ranks};
  std::vector<RankReplay> replays;
  for (int dp = 0; dp < ranks; ++dp) replays.emplace_back(conversation(), options, dp);
  std::vector<SizePair> steps;
  for (bool live = true; live;) {
    SizePair step;
    for (RankReplay& replay : replays) {
      const std::int64_t rows = replay.next().rows();
      step = {std::max(step.local, rows), step.global + rows};
      live = replay.live();
    }
    if (live && step.global > 0) steps.push_back(step);
  }
  return steps;
}

struct Computed {
  double ffn = 0, attention = 0;  ///< rows computed for each that exists
};
template <class Sizes>
Computed computed(const Sizes& sizes, std::span<const SizePair> steps, int ranks) {
  std::int64_t ffn = 0, attention = 0, rows = 0;
  for (const SizePair& step : steps) {
    const auto shape = sizes.fit_pair(step.local, step.global);
    REQUIRE(shape);
    ffn += std::min(shape->global, shape->local * ranks);
    attention += shape->local * ranks;
    rows += step.global;
  }
  const auto of = [rows](std::int64_t n) {
    return static_cast<double>(n) / static_cast<double>(rows);
  };
  return {of(ffn), of(attention)};
}
/// Sizes that MAX_LEN is captured at by default.
struct DefaultSizes {
  dpgather::CaptureSizes sizes;
  int ranks;
  [[nodiscard]] std::optional<SizePair> fit_pair(std::int64_t longest, std::int64_t) const {
    const auto size = sizes.fit(longest);
    if (!size) return std::nullopt;
    return SizePair{*size, *size * ranks};
  }
};

dpgather::TunedShapes tuned(std::span<const SizePair> steps, int ranks,
                            dpgather::PaddingBound padding) {
  const dpgather::TuneGoal goal{
      .cost = {.ranks = ranks}, .largest = 256, .max_shapes = 36, .padding = padding};
  dpgather::LoadHistogram histogram(
      {.cost = goal.cost, .largest = goal.largest_pair(), .capacity = 2048});
  for (const SizePair& step : steps) histogram.add(step.local, step.global);
  return dpgather::SizeTuner(goal).two_axes(histogram.entries());
}

}  // namespace

TEST_CASE("36 tuned pairs compute hardly more FFN rows than exist") {
  for (const auto& [ranks, by_default] : {std::pair{8, 1.28}, {32, 1.37}}) {
    const dpgather::ShapeCost cost{.ranks = ranks};
    const auto steps = live_steps(ranks);
    const std::span<const SizePair> all(steps);
    const Computed usual =
        computed(DefaultSizes{dpgather::CaptureSizes::sglang(256), ranks}, all, ranks);
    CHECK(usual.ffn == doctest::Approx(by_default).epsilon(0.02));

    const auto shapes = tuned(all, ranks, {});
    const Computed best = computed(shapes.sizes(cost), all, ranks);
    CHECK(shapes.shapes.size() <= 36);
    CHECK(best.ffn <= 1.04);
    CHECK(best.attention <= 1.40);

    // Traffic drifts: a bound on what was not seen costs a little.
    const auto first = all.first(all.size() / 3), rest = all.subspan(all.size() / 3);
    const Computed later = computed(tuned(first, ranks, {150, 200}).sizes(cost), rest, ranks);
    CHECK(later.ffn <= 1.06);
    CHECK(later.attention <= 1.40);
    MESSAGE(ranks, " ranks, ", all.size(), " live steps: default ", usual.ffn, " / ",
            usual.attention, ", tuned ", best.ffn, " / ", best.attention, " (cost ", shapes.cost,
            ", at least ", shapes.lower_bound,
            "), tuned on the first third and judged on the rest ", later.ffn, " / ",
            later.attention);
  }
}
