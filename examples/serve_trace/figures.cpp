#include "figures.hpp"

#include <algorithm>
#include <vector>

namespace serve_trace {

void RowSum::add(const Launch& launch, bool decode_only_live) {
  sum_.moved_out += launch.moved_out;
  sum_.moved_back += launch.moved_back;
  sum_.computed += launch.ffn_rows;
  if (!decode_only_live) return;
  sum_.decode_computed += launch.ffn_rows;
  sum_.decode_attention += launch.attention_rows;
}

RowFigures RowSum::rows() const {
  RowFigures rows = sum_;
  rows.moved_out /= ranks_;
  rows.moved_back /= ranks_;
  return rows;
}

GraphFigures graph_figures(const dpgather::GraphStatistics& statistics, std::size_t keys,
                           std::size_t most_keys) {
  GraphFigures figures{.keys = static_cast<std::int64_t>(keys),
                       .most_keys = static_cast<std::int64_t>(most_keys),
                       .captures = static_cast<std::int64_t>(statistics.captures),
                       .dropped = static_cast<std::int64_t>(statistics.evictions),
                       .retunings = static_cast<std::int64_t>(statistics.retunings),
                       .replays = static_cast<std::int64_t>(statistics.replays),
                       .eager_steps = static_cast<std::int64_t>(statistics.eager_steps()),
                       .eager_reasons = {}};
  for (std::size_t i = 0; i < dpgather::eager_reasons; ++i)
    if (statistics.eager[i] > 0)
      figures.eager_reasons[std::string(name(static_cast<dpgather::EagerReason>(i)))] =
          static_cast<std::int64_t>(statistics.eager[i]);
  return figures;
}

Choices choice_figures(const dpgather::ChoiceCounts& counts) {
  Choices choices;
  for (std::size_t i = 0; i < dpgather::choice_reasons; ++i)
    if (counts.steps[i] > 0)
      choices[std::string(name(static_cast<dpgather::ChoiceReason>(i)))] =
          static_cast<std::int64_t>(counts.steps[i]);
  return choices;
}

Accounting::Accounting(const Options& options)
    : options_(options),
      own_(options.layout(), options.hosts, policy_of(options), graph_sizes(options)),
      sglang_(options.layout(), 1, sglang_policy(), GraphSizes(capture_sizes(options))),
      planned_(options.layout().world()),
      unpadded_(planned_),
      sglang_rows_(planned_),
      sglang_unpadded_(planned_) {}

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
  lens_.clear();
  for (const std::int64_t count : step.counts)
    lens_.push_back(dpgather::round_up(count, options_.attn_tp));
  const bool max_len = rule_of(options_, {lens_, !decode_only}) == dpgather::LenMode::max_len;
  ++(max_len ? figures_.max_len_steps : figures_.sum_len_steps);

  const Launch launch = own_.launch(step.counts, step.forward);
  planned_.add(launch, decode_only_live);
  unpadded_.add(own_.eager(step.counts, step.forward), decode_only_live);
  sglang_rows_.add(sglang_.launch(step.counts, step.forward), decode_only_live);
  sglang_unpadded_.add(sglang_.eager(step.counts, step.forward), decode_only_live);
  choices_.add(launch.why);
  add_graph(launch);
}

Figures Accounting::figures() const {
  Figures figures = figures_;
  figures.planned = figures.launched = planned_.rows();
  figures.unpadded = unpadded_.rows();
  figures.sglang = sglang_rows_.rows();
  figures.sglang_unpadded = sglang_unpadded_.rows();
  figures.choices = choice_figures(choices_);
  return figures;
}

/// Graphs are captured when their shape first comes.
void Accounting::add_graph(const Launch& launch) {
  GraphFigures& graphs = figures_.graphs;
  if (launch.new_sizes) {
    ++graphs.retunings;
    graphs.dropped += static_cast<std::int64_t>(
        std::erase_if(keys_, [this](const auto& key) { return !own_.lists(key.first); }));
  }
  if (launch.graph) {
    hold(*launch.graph);
    ++graphs.replays;
  } else {
    ++graphs.eager_steps;
    ++graphs.eager_reasons[std::string(name(launch.why_eager))];
  }
  graphs.keys = std::ssize(keys_);
  graphs.most_keys = std::max(graphs.most_keys, graphs.keys);
}

/// The latest used stay.
void Accounting::hold(const dpgather::ShapeKey& key) {
  GraphFigures& graphs = figures_.graphs;
  if (!keys_.contains(key)) {
    ++graphs.captures;
    if (options_.graphs > 0 && std::ssize(keys_) == options_.graphs) {
      keys_.erase(std::min_element(keys_.begin(), keys_.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      }));
      ++graphs.dropped;
    }
  }
  keys_[key] = figures_.steps;
}

}  // namespace serve_trace
