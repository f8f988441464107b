#include "load.hpp"

#include <cmath>

#include <fmt/format.h>

#include <dpgather/graph/select.hpp>
#include <dpgather/tune/spread.hpp>

#include "histogram_file.hpp"
#include "serve_trace/dry_run.hpp"
#include "serve_trace/policy.hpp"
#include "serve_trace/synthetic.hpp"

namespace tune_sizes {
namespace {

using dpgather::LoadEntry;
using dpgather::LoadHistogram;
using dpgather::SizePair;

/// A token row is a request in a decode-only step.
std::vector<SizePair> decode_steps(const Options& options, const serve_trace::Trace& trace) {
  std::vector<SizePair> steps;
  serve_trace::replay_all(options.traffic, trace, [&](const serve_trace::StepFacts& step) {
    if (!step.live || is_prefill(step.forward) || dpgather::sum(step.counts) == 0) return;
    steps.push_back(dpgather::needed_sizes({.layout = options.traffic.layout(),
                                            .counts = step.counts,
                                            .forward = dpgather::Forward::decode},
                                           0));
  });
  return steps;
}

Load of_traffic(const Options& options) {
  const serve_trace::Trace trace = traffic(options.traffic);
  const std::vector<SizePair> steps = decode_steps(options, trace);
  const std::int64_t largest = serve_trace::capture_sizes(options.traffic).largest();
  const int ranks = options.traffic.ranks;
  Load load{.name = trace.name,
            .ranks = ranks,
            .attn_tp = options.traffic.attn_tp,
            .largest = largest,
            .histogram = LoadHistogram(
                {.cost = {.ranks = ranks, .attention_percent = options.attention_percent},
                 .largest = {largest, ranks * largest}})};
  const auto trained = static_cast<std::size_t>(
      std::llround(options.train_share * static_cast<double>(steps.size())));
  const std::size_t judged_from = options.train_share < 1 ? trained : 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i < trained) load.histogram.add(steps[i].local, steps[i].global);
    if (i >= judged_from) load.judged.push_back({steps[i]});
  }
  load.tuned_steps = static_cast<std::int64_t>(trained);
  load.judged_steps = std::ssize(load.judged);
  if (load.tuned_steps == 0 || load.judged_steps == 0)
    throw BadInput(fmt::format("{}: {} decode steps to tune on and {} to judge, both are needed",
                               load.name, load.tuned_steps, load.judged_steps));
  return load;
}

Load of_file(const Options& options) {
  Load load = read_histogram(options.histogram);
  std::int64_t weight = 0;
  for (const LoadEntry& entry : load.histogram.entries()) {
    weight += entry.weight;
    load.judged.push_back(entry);
  }
  if (weight == 0) throw BadInput(fmt::format("--histogram: {} has no steps", options.histogram));
  load.tuned_steps = load.judged_steps = (weight + LoadEntry::one_step / 2) / LoadEntry::one_step;
  return load;
}

}  // namespace

Load read_load(const Options& options) {
  Load load = options.histogram.empty() ? of_traffic(options) : of_file(options);
  if (!options.save_histogram.empty()) write_histogram(options.save_histogram, load);
  if (options.spread > 0) load.histogram = dpgather::spread(load.histogram, options.spread);
  return load;
}

}  // namespace tune_sizes
