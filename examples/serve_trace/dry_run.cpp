#include "dry_run.hpp"

#include <optional>
#include <vector>

#include "counts_file.hpp"
#include "replay.hpp"

namespace serve_trace {

void replay_all(const Options& options, const Trace& trace,
                const std::function<void(const StepFacts&)>& see) {
  std::vector<RankReplay> ranks;
  for (int rank = 0; rank < options.ranks; ++rank) ranks.emplace_back(trace, options, rank);
  std::vector<std::int64_t> counts(ranks.size());
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
    if (!facts.live && dpgather::sum(counts) == 0) return;
    see(facts);
  }
}

Figures dry_run(const Options& options, const Trace& trace, const OnStep& on_step) {
  Accounting accounting(options);
  std::optional<CountsFile> counts;
  if (!options.counts.empty()) counts.emplace(options.counts, options.ranks);
  replay_all(options, trace, [&](const StepFacts& facts) {
    accounting.add(facts);
    if (counts) counts->add(facts);
    if (on_step) on_step(accounting.steps(), accounting.rows());
  });
  if (counts) counts->close();
  return accounting.figures();
}

}  // namespace serve_trace
