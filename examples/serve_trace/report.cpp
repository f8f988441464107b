#include "report.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include <fmt/format.h>

namespace serve_trace {
namespace {

/// 26431169 -> "26,431,169", whatever locales the machine has.
std::string grouped(std::int64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string counted(std::int64_t count, std::string_view what, std::string_view plural = "s") {
  return fmt::format("{} {}{}", grouped(count), what, count == 1 ? "" : plural);
}

std::string duration(std::int64_t ticks) {
  const std::int64_t seconds = ticks / ticks_per_second;
  return seconds < 60 ? fmt::format("{} s", seconds)
                      : fmt::format("{} min {} s", seconds / 60, seconds % 60);
}

class Table {
 public:
  template <class... Args>
  void line(std::string_view title, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(out(), "{:<9}{}\n", title, fmt::format(format, std::forward<Args>(args)...));
  }
  void blank() { text_ += '\n'; }

  void comparison_header() {
    row("Rows", "", "this run", "", "SGLang's rule", "");
    row("", "", "", "ratio", "and sizes", "ratio");
  }
  void exist(std::string_view what, std::int64_t rows) {
    row("", what, grouped(rows), "1", grouped(rows), "1");
  }
  void compare(std::string_view what, std::int64_t exist, std::int64_t own, std::int64_t sglang) {
    row("", what, grouped(own), ratio(own, exist), grouped(sglang), ratio(sglang, exist));
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void row(std::string_view title, std::string_view what, std::string_view own,
           std::string_view own_ratio, std::string_view sglang, std::string_view sglang_ratio) {
    std::string line = fmt::format("{:<9}{:<34}{:>14}{:>7}{:>18}{:>7}", title, what, own, own_ratio,
                                   sglang, sglang_ratio);
    line.erase(line.find_last_not_of(' ') + 1);
    (text_ += line) += '\n';
  }
  static std::string ratio(std::int64_t rows, std::int64_t exist) {
    if (exist == 0) return "-";
    return fmt::format("{:.2f}", static_cast<double>(rows) / static_cast<double>(exist));
  }
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }
  std::string text_;
};

void describe_traffic(Table& table, const Options& options, const Trace& trace,
                      const Figures& figures) {
  table.line(
      "Traffic", "{}: {} in {}",
      options.trace.empty() ? trace.name : std::filesystem::path(trace.name).filename().string(),
      counted(std::ssize(trace.requests), "request"), duration(trace.span()));
  table.line("", "{} admitted in steps of {} ms, trace time {} times as fast",
             grouped(figures.requests), options.step_ms, options.speedup);
  table.line("", "{}: {} of prompts, {} of answers", counted(figures.rows, "token row"),
             grouped(figures.prefill_rows), grouped(figures.rows - figures.prefill_rows));
}

void describe_setting(Table& table, const Options& options, const Figures& figures) {
  table.line("Ranks", "{} DP x {} attention TP; {} instance, {}at most {} running on a rank",
             options.ranks, options.attn_tp, name(options.serve),
             options.serve == Serve::mixed ? fmt::format("chunk {}, ", options.chunk) : "",
             options.max_running);
  table.line("Steps", "{}: {} live, {} decode-only, {} idle", grouped(figures.steps),
             grouped(figures.live_steps), grouped(figures.decode_only_steps),
             grouped(figures.idle_steps));
  table.line(
      "Mode", "{}{}: {} steps MAX_LEN, {} SUM_LEN", name(options.mode),
      options.mode == ModeChoice::auto_rule ? fmt::format(" by rule {}", name(options.rule)) : "",
      grouped(figures.max_len_steps), grouped(figures.sum_len_steps));
}

void describe_reach(Table& table, const Options& options, const Figures& figures) {
  if (!offers_peers(options.comm))
    table.line("Reach", "no rank reaches another's memory");
  else if (options.hosts == 1)
    table.line("Reach", "all ranks reach each other's memory{}",
               options.peers ? "" : ", mode auto does without");
  else
    table.line("Reach", "{} hosts: DP ranks 0..{} reach each other's memory, and so on",
               options.hosts, options.ranks / options.hosts - 1);
  std::string why;
  for (const auto& [reason, steps] : figures.choices)
    why += fmt::format("{}{} {}", why.empty() ? "" : ", ", grouped(steps), reason);
  std::replace(why.begin(), why.end(), '_', ' ');
  table.line("Steps by", "{}", why);
}

void compare_rows(Table& table, const Figures& figures) {
  const RowFigures &own = figures.launched, &sglang = figures.sglang;
  table.comparison_header();
  table.exist("that exist", figures.rows);
  table.compare("moved out to each rank", figures.rows, own.moved_out, sglang.moved_out);
  table.compare("  if no step ran in a graph", figures.rows, figures.unpadded.moved_out,
                figures.sglang_unpadded.moved_out);
  table.compare("moved back", figures.rows, own.moved_back, sglang.moved_back);
  table.compare("computed by the FFN", figures.rows, own.computed, sglang.computed);
  if (figures.decode_rows == 0) return;
  table.exist("that exist in live decode steps", figures.decode_rows);
  table.compare("  computed by the FFN", figures.decode_rows, own.decode_computed,
                sglang.decode_computed);
  table.compare("  computed by attention", figures.decode_rows, own.decode_attention,
                sglang.decode_attention);
}

void describe_graphs(Table& table, const GraphFigures& graphs) {
  std::string why;
  for (const auto& [name_of_reason, steps] : graphs.eager_reasons) {
    std::string reason = name_of_reason;
    std::replace(reason.begin(), reason.end(), '_', ' ');
    why += fmt::format("{}{} {}", why.empty() ? " (" : ", ", grouped(steps), reason);
  }
  table.line("Graphs", "{}, {} held at most; {}; {}{}{}", counted(graphs.captures, "capture"),
             grouped(graphs.most_keys), counted(graphs.replays, "replay"),
             counted(graphs.eager_steps, "eager step"), why, why.empty() ? "" : ")");
  if (graphs.dropped + graphs.retunings > 0)
    table.line("", "{} dropped; shapes tuned anew {}", grouped(graphs.dropped),
               counted(graphs.retunings, "time"));
}

void describe_simulation(Table& table, const Options& options, const Simulated& simulated) {
  table.line("Schedule", "{}, seed {}: {} of CUDA{}, on all ranks", name(options.schedule),
             options.seed, counted(simulated.calls, "call"),
             options.comm == CommChoice::sim ? " and NCCL" : "");
  table.line("", "{}, {}, {}", counted(simulated.kernels, "kernel"),
             counted(simulated.collectives, "collective"),
             counted(simulated.graph_launches, "graph launch", "es"));
  if (simulated.leaks.empty()) table.line("", "nothing was left behind");
  for (const std::string& leak : simulated.leaks) table.line("", "LEFT BEHIND: {}", leak);
}

void describe_checks(Table& table, const Options& options, const Figures& figures) {
  if (options.dry_run) {
    table.line("Checks", "none: in a dry run no data moves, the rows above are planned");
    return;
  }
  table.line("Checks", "{} compared bit by bit with a single-rank computation: {} wrong",
             counted(figures.checked_rows, "output row"), grouped(figures.wrong_rows));
  if (options.attn_tp > 1) {
    table.line("", "each row is checked on the {} ranks that get it", options.attn_tp);
    table.line("", "rows moved are those between all ranks, without copies within attention TP");
  }
  table.line(
      "", "rows moved and computed are as counted while serving: {}",
      figures.launched == figures.planned ? "equal to the plan" : "THEY DIFFER FROM THE PLAN");
}

}  // namespace

std::string report(const Options& options, const Trace& trace, const Figures& figures) {
  Table table;
  describe_traffic(table, options, trace, figures);
  describe_setting(table, options, figures);
  describe_reach(table, options, figures);
  table.blank();
  compare_rows(table, figures);
  table.blank();
  describe_graphs(table, figures.graphs);
  describe_checks(table, options, figures);
  if (figures.simulated) describe_simulation(table, options, *figures.simulated);
  table.line("Time", "{:.1f} s, {:.0f} steps a second", figures.seconds,
             figures.seconds > 0 ? static_cast<double>(figures.steps) / figures.seconds : 0.0);
  return table.take();
}

}  // namespace serve_trace
