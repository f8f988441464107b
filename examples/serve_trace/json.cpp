#include "json.hpp"

#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace serve_trace {

using Json = nlohmann::ordered_json;

namespace {

Json settings(const Options& options, const std::string& traffic) {
  return {{"traffic", traffic},         {"serve", name(options.serve)},
          {"ranks", options.ranks},     {"attn_tp", options.attn_tp},
          {"chunk", options.chunk},     {"max_running", options.max_running},
          {"step_ms", options.step_ms}, {"speedup", options.speedup},
          {"mode", name(options.mode)}, {"rule", name(options.rule)},
          {"peers", options.peers},     {"hosts", options.hosts},
          {"shapes", options.shapes},   {"retune", options.retune},
          {"graphs", options.graphs},   {"hidden", options.hidden},
          {"steps", options.steps},     {"seed", options.seed},
          {"comm", name(options.comm)}, {"dry_run", options.dry_run}};
}

Json sglang(const Figures& figures) {
  return {{"rows_moved", figures.sglang.moved_out},
          {"rows_moved_unpadded", figures.sglang_unpadded.moved_out},
          {"rows_moved_back", figures.sglang.moved_back},
          {"rows_computed", figures.sglang.computed},
          {"decode_rows_computed", figures.sglang.decode_computed},
          {"decode_attention_rows", figures.sglang.decode_attention}};
}

}  // namespace

std::string to_json(const Options& options, const std::string& traffic, const Figures& figures) {
  Json json = {{"settings", settings(options, traffic)},
               {"requests", figures.requests},
               {"steps", figures.steps},
               {"idle_steps", figures.idle_steps},
               {"live_steps", figures.live_steps},
               {"decode_only_steps", figures.decode_only_steps},
               {"rows", figures.rows},
               {"prefill_rows", figures.prefill_rows},
               {"max_len_steps", figures.max_len_steps},
               {"sum_len_steps", figures.sum_len_steps},
               {"rows_moved", figures.launched.moved_out},
               {"rows_moved_unpadded", figures.unpadded.moved_out},
               {"rows_moved_planned", figures.planned.moved_out},
               {"rows_moved_back", figures.launched.moved_back},
               {"rows_moved_back_planned", figures.planned.moved_back},
               {"rows_computed", figures.launched.computed},
               {"decode_rows", figures.decode_rows},
               {"decode_rows_computed", figures.launched.decode_computed},
               {"decode_attention_rows", figures.launched.decode_attention},
               {"sglang", sglang(figures)},
               {"graph_keys", figures.graphs.keys},
               {"most_graph_keys", figures.graphs.most_keys},
               {"graph_captures", figures.graphs.captures},
               {"graphs_dropped", figures.graphs.dropped},
               {"retunings", figures.graphs.retunings},
               {"graph_replays", figures.graphs.replays},
               {"eager_steps", figures.graphs.eager_steps},
               {"eager_reasons", figures.graphs.eager_reasons},
               {"choices", figures.choices},
               {"checked_rows", figures.checked_rows},
               {"wrong_rows", figures.wrong_rows},
               {"seconds", figures.seconds}};
  if (const auto& simulated = figures.simulated)
    json["simulation"] = {{"schedule", name(options.schedule)},
                          {"calls", simulated->calls},
                          {"kernels", simulated->kernels},
                          {"collectives", simulated->collectives},
                          {"graph_launches", simulated->graph_launches},
                          {"leaks", simulated->leaks}};
  return json.dump(2) + "\n";
}

void write_json(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) throw BadInput(fmt::format("--json: cannot write {}", path));
}

}  // namespace serve_trace
