#include "result.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tune_sizes {
namespace {

using Json = nlohmann::ordered_json;
using dpgather::SizePair;

dpgather::TuneGoal goal_of(const Options& options, const Load& load) {
  return {.cost = load.histogram.options().cost,
          .largest = load.largest,
          .max_shapes = options.shapes,
          .attn_tp = load.attn_tp,
          .rows_per_graph = options.graph_rows,
          .padding = options.padding,
          .byte_budget = options.byte_budget,
          .bytes = options.bytes};
}

/// Smallest global size first.
std::vector<SizePair> in_order(std::vector<SizePair> shapes) {
  std::sort(shapes.begin(), shapes.end(), [](const SizePair& a, const SizePair& b) {
    return std::pair(a.global, a.local) < std::pair(b.global, b.local);
  });
  return shapes;
}

void row(std::string& text, std::string_view what, std::int64_t shapes, const Cost& cost,
         int percent) {
  fmt::format_to(std::back_inserter(text), "{:<24}{:>8}{:>14.3f}{:>20.3f}{:>16.1f}\n", what, shapes,
                 cost.ffn(), cost.attention(), cost.per_step(percent));
}

Json json_of(const Cost& cost, int percent) {
  return {{"rows", cost.rows},
          {"ffn_rows", cost.ffn_rows},
          {"attention_rows", cost.attention_rows},
          {"ffn_rows_per_row", cost.ffn()},
          {"attention_rows_per_row", cost.attention()},
          {"cost_per_step", cost.per_step(percent)},
          {"eager_steps", cost.eager}};
}

}  // namespace

Result tune(const Options& options, const Load& load) try {
  const dpgather::SizeTuner tuner(goal_of(options, load));
  const auto entries = load.histogram.entries();
  const auto start = std::chrono::steady_clock::now();
  Result result{.tuned =
                    options.axes == Axes::one ? tuner.one_axis(entries) : tuner.two_axes(entries)};
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto sizes = result.tuned.sizes(tuner.goal().cost);
  result.own = judge(load.judged, load.ranks,
                     [&](const SizePair& step) { return sizes.fit_pair(step.local, step.global); });
  const auto defaults = load.default_sizes();
  result.default_shapes = std::ssize(defaults.values());
  result.defaults =
      judge(load.judged, load.ranks, [&](const SizePair& step) -> std::optional<SizePair> {
        const auto local = defaults.fit(step.local);
        if (!local) return std::nullopt;
        return SizePair{*local, *local * load.ranks};
      });
  return result;
} catch (const dpgather::InvalidArgument& error) {
  throw BadInput(error.detail());
}

std::string report(const Options& options, const Load& load, const Result& result) {
  const int percent = load.histogram.options().cost.attention_percent;
  std::string text;
  const auto line = [&text](std::string_view title, const std::string& what) {
    fmt::format_to(std::back_inserter(text), "{:<10}{}\n", title, what);
  };
  line("Traffic", std::filesystem::path(load.name).filename().string());
  line("Ranks", fmt::format("{} DP x {} attention TP, largest size {} requests a rank", load.ranks,
                            load.attn_tp, load.largest));
  const bool apart = options.train_share < 1;
  line("Steps", fmt::format("{} decode steps tuned on, {} judged{}", load.tuned_steps,
                            load.judged_steps, apart ? ", which come after them" : ", the same"));
  line("Counted",
       fmt::format("{} distinct needs{}, in units of {} and {} requests (longest rank, all ranks)",
                   load.histogram.entries().size(),
                   options.spread > 0 ? fmt::format(" spread by {} %", options.spread) : "",
                   load.histogram.unit().local, load.histogram.unit().global));
  text += '\n';
  fmt::format_to(std::back_inserter(text), "{:<24}{:>8}{:>14}{:>20}{:>16}\n", "", "shapes",
                 "FFN rows/row", "attention rows/row", "cost a step");
  row(text, "tuned", std::ssize(result.tuned.shapes), result.own, percent);
  row(text, "SGLang's default sizes", result.default_shapes, result.defaults, percent);
  text += '\n';
  line("Cost", fmt::format("FFN rows and {:g} times attention rows", percent / 100.0));
  const double gap =
      result.tuned.lower_bound > 0 ? 100 * (result.tuned.cost / result.tuned.lower_bound - 1) : 0;
  line("Tuning", fmt::format("{:.1f} a step expected, no choice of shapes can be below {:.1f} "
                             "({:.2f} % off), found in {:.2f} s",
                             result.tuned.cost, result.tuned.lower_bound, gap, result.seconds));
  if (result.own.eager > 0)
    line("Eager", fmt::format("{:.0f} steps are above the largest size, and in no figure",
                              result.own.eager));
  std::string shapes;
  for (const SizePair& shape : in_order(result.tuned.shapes)) {
    if (!shapes.empty()) shapes += ' ';
    shapes += fmt::format("({},{})", shape.local, shape.global);
  }
  line("Shapes", shapes);
  return text;
}

std::string to_json(const Options& options, const Load& load, const Result& result) {
  const int percent = load.histogram.options().cost.attention_percent;
  Json shapes = Json::array();
  for (const SizePair& shape : in_order(result.tuned.shapes))
    shapes.push_back({{"local", shape.local}, {"global", shape.global}});
  const Json json = {{"traffic", load.name},
                     {"ranks", load.ranks},
                     {"attn_tp", load.attn_tp},
                     {"largest", load.largest},
                     {"attention_percent", percent},
                     {"train_share", options.train_share},
                     {"spread", options.spread},
                     {"tuned_steps", load.tuned_steps},
                     {"judged_steps", load.judged_steps},
                     {"shapes", std::move(shapes)},
                     {"expected_cost_per_step", result.tuned.cost},
                     {"lower_bound_per_step", result.tuned.lower_bound},
                     {"seconds", result.seconds},
                     {"tuned", json_of(result.own, percent)},
                     {"default_shapes", result.default_shapes},
                     {"default_sizes", json_of(result.defaults, percent)}};
  return json.dump(2) + "\n";
}

}  // namespace tune_sizes
