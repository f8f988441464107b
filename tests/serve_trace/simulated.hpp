// What a run on simulated GPUs must come to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "dry_run.hpp"
#include "figures.hpp"
#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

inline const std::vector<ModeChoice> all_modes = {ModeChoice::max_len, ModeChoice::sum_len,
                                                  ModeChoice::sum_len_v, ModeChoice::auto_rule};
inline const std::vector<ModeChoice> modes_between_threads = {
    ModeChoice::max_len,      ModeChoice::sum_len,      ModeChoice::sum_len_v,
    ModeChoice::sum_len_peer, ModeChoice::sum_len_hier, ModeChoice::auto_rule};

[[nodiscard]] inline const std::vector<ModeChoice>& modes_of(CommChoice comm) {
  return offers_peers(comm) ? modes_between_threads : all_modes;
}

/// Every row right on each rank that gets it, all that was planned moved and launched, nothing left
/// behind. Graphs are those of the plan; on a device, though, a shape's first step is eager.
inline void check_simulated(const Figures& served, const Options& options, const Trace& trace) {
  const Figures planned = dry_run(options, trace);
  CHECK(served.wrong_rows == 0);
  CHECK(served.checked_rows == served.rows * options.attn_tp);
  CHECK(served.rows == planned.rows);
  CHECK(served.steps == planned.steps);
  CHECK(served.launched.moved_out == planned.launched.moved_out);
  CHECK(served.launched.moved_back == planned.launched.moved_back);
  CHECK(served.launched == planned.launched);
  REQUIRE(served.simulated);
  for (const std::string& leak : served.simulated->leaks) FAIL_CHECK(leak);
  CHECK(served.good());

  const GraphFigures &graphs = served.graphs, &of_plan = planned.graphs;
  CHECK(served.choices == planned.choices);
  CHECK(graphs.keys == of_plan.keys);
  CHECK(graphs.most_keys == of_plan.most_keys);
  CHECK(graphs.dropped == of_plan.dropped);
  CHECK(graphs.retunings == of_plan.retunings);
  CHECK(graphs.captures == of_plan.captures);
  CHECK(graphs.replays == of_plan.replays - of_plan.captures);
  CHECK(graphs.eager_steps == of_plan.eager_steps + of_plan.captures);
  auto reasons = of_plan.eager_reasons;
  if (of_plan.captures > 0) reasons["warm_up"] = of_plan.captures;
  CHECK(graphs.eager_reasons == reasons);
  CHECK(served.simulated->graph_launches == graphs.replays * options.layout().world());
}

}  // namespace serve_trace
