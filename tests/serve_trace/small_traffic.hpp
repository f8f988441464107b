// Traffic small enough to serve many times over, with what a step of it looks like.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <dpgather/plan/forward.hpp>

#include "options.hpp"
#include "replay.hpp"
#include "synthetic.hpp"
#include "trace.hpp"

namespace serve_trace {

/// Short requests with gaps between them, so that ranks, and at times all ranks, are idle.
inline Trace small_trace(std::uint64_t seed, std::int64_t requests = 40, double rate = 5) {
  return synthetic_trace({.seed = seed,
                          .requests = requests,
                          .rate = rate,
                          .context_mean = 2.5,
                          .context_deviation = 1.0,
                          .generated_mean = 1.5,
                          .generated_deviation = 1.0,
                          .max_context = 120,
                          .max_generated = 12});
}

/// Few slots: contexts are cut by the chunk, queues form, and 9 requests on a rank exceed the
/// largest capture size.
inline Options small_options() {
  Options options;
  options.ranks = 3;
  options.chunk = 24;
  options.max_running = 9;
  options.hidden = 24;
  options.step_ms = 25;
  options.speedup = 4;
  return options;
}

/// All ranks in one step.
struct StepOfAll {
  std::vector<std::int64_t> counts;  ///< [W]
  dpgather::Forward forward = dpgather::Forward::idle;

  [[nodiscard]] std::int64_t fewest() const {
    return *std::min_element(counts.begin(), counts.end());
  }
};

/// Steps 0 to `steps` - 1 as the replay makes them; some past the end may have no rows.
inline std::vector<StepOfAll> replay_steps(const Options& options, const Trace& trace,
                                           std::int64_t steps) {
  std::vector<RankReplay> ranks;
  for (int rank = 0; rank < options.ranks; ++rank) ranks.emplace_back(trace, options, rank);
  std::vector<StepOfAll> all;
  for (std::int64_t step = 0; step < steps; ++step) {
    StepOfAll one;
    for (RankReplay& rank : ranks) {
      const Work& work = rank.next();
      one.counts.push_back(work.rows());
      one.forward = combine(one.forward, work.forward());
    }
    all.push_back(one);
  }
  return all;
}

}  // namespace serve_trace
