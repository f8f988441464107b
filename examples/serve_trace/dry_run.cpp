#include "dry_run.hpp"

#include <vector>

#include "replay.hpp"

namespace serve_trace {

Figures dry_run(const Options& options, const Trace& trace, const OnStep& on_step) {
  std::vector<RankReplay> ranks;
  for (int rank = 0; rank < options.ranks; ++rank) ranks.emplace_back(trace, options, rank);
  std::vector<std::int64_t> counts(ranks.size());
  Accounting accounting(options);
  for (std::int64_t step = 0; options.steps == 0 || step < options.steps; ++step) {
    StepFacts facts{.counts = counts};
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      const Work& work = ranks[rank].next();
      counts[rank] = work.rows();
      facts.prefill_rows += work.prefill_rows;
      facts.forward = combine(facts.forward, work.forward());
    }
    facts.admitted = ranks.front().admitted();
    facts.live = ranks.front().live();
    if (!facts.live && dpgather::sum(counts) == 0) break;
    accounting.add(facts);
    if (on_step) on_step(step + 1, accounting.figures().rows);
  }
  return accounting.figures();
}

}  // namespace serve_trace
