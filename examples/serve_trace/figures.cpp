#include "figures.hpp"

namespace serve_trace {

void RowFigures::add(const Launch& launch, bool decode_only_live) {
  moved_out += launch.moved_out;
  moved_back += launch.moved_back;
  computed += launch.ffn_rows;
  if (!decode_only_live) return;
  decode_computed += launch.ffn_rows;
  decode_attention += launch.attention_rows;
}

GraphFigures graph_figures(const dpgather::GraphStatistics& statistics, std::size_t keys) {
  GraphFigures figures{.keys = static_cast<std::int64_t>(keys),
                       .captures = static_cast<std::int64_t>(statistics.captures),
                       .replays = static_cast<std::int64_t>(statistics.replays),
                       .eager_steps = static_cast<std::int64_t>(statistics.eager_steps()),
                       .eager_reasons = {}};
  for (std::size_t i = 0; i < dpgather::eager_reasons; ++i)
    if (statistics.eager[i] > 0)
      figures.eager_reasons[std::string(name(static_cast<dpgather::EagerReason>(i)))] =
          static_cast<std::int64_t>(statistics.eager[i]);
  return figures;
}

Accounting::Accounting(const Options& options)
    : own_(options.layout(), policy_of(options), capture_sizes(options)),
      sglang_(options.layout(), sglang_policy(), capture_sizes(options)) {}

void Accounting::add(const StepFacts& step) {
  const std::int64_t rows = dpgather::sum(step.counts);
  const bool decode_only = !is_prefill(step.forward);
  const bool decode_only_live = decode_only && step.live;
  ++figures_.steps;
  figures_.requests = step.admitted;
  figures_.idle_steps += rows == 0;
  figures_.live_steps += step.live;
  figures_.decode_only_steps += decode_only;
  figures_.rows += rows;
  figures_.prefill_rows += step.prefill_rows;
  if (decode_only_live) figures_.decode_rows += rows;
  const bool max_len = own_.mode(step.counts, step.forward) == dpgather::LenMode::max_len;
  ++(max_len ? figures_.max_len_steps : figures_.sum_len_steps);

  const Launch launch = own_.launch(step.counts, step.forward);
  figures_.planned.add(launch, decode_only_live);
  figures_.launched = figures_.planned;
  figures_.unpadded.add(own_.eager(step.counts, step.forward), decode_only_live);
  figures_.sglang.add(sglang_.launch(step.counts, step.forward), decode_only_live);
  figures_.sglang_unpadded.add(sglang_.eager(step.counts, step.forward), decode_only_live);
  add_graph(launch);
}

/// Graphs are captured when their shape first comes.
void Accounting::add_graph(const Launch& launch) {
  GraphFigures& graphs = figures_.graphs;
  if (launch.graph) {
    const bool is_new = keys_.insert(*launch.graph).second;
    graphs.keys += is_new;
    graphs.captures += is_new;
    ++graphs.replays;
    return;
  }
  ++graphs.eager_steps;
  ++graphs.eager_reasons[std::string(name(launch.why_eager))];
}

}  // namespace serve_trace
