#include "options.hpp"

#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "command_line/option_kinds.hpp"
#include "serve_trace/traffic_options.hpp"

namespace tune_sizes {
namespace {

using command_line::add_choice;
using command_line::add_whole;
using command_line::check_writable;
using command_line::parse;
using command_line::positive_real;
using serve_trace::max_world;

const std::vector<std::string> axes_names = {"one", "two"};  // in the order of the enumerators

void check_together(const Options& options) {
  const int world = options.traffic.ranks * options.traffic.attn_tp;
  if (world > max_world)
    throw BadInput(fmt::format("--ranks {} times --attn-tp {} is {} ranks, at most {}",
                               options.traffic.ranks, options.traffic.attn_tp, world, max_world));
  if (options.padding.percent == 0 && options.padding.skew_percent > 0)
    throw BadInput("--skew-percent needs --padding-percent");
  const auto& bytes = options.bytes;
  const bool any = bytes.per_graph + bytes.per_local + bytes.per_global > 0;
  if ((options.byte_budget > 0) != any)
    throw BadInput(any ? "--graph-bytes, --local-bytes and --global-bytes need --byte-budget"
                       : "--byte-budget needs --graph-bytes, --local-bytes or --global-bytes");
  check_writable("--save-histogram", options.save_histogram);
  check_writable("--json", options.json);
  check_writable("--plot", options.plot);
}

}  // namespace

std::optional<Options> parse_options(int argc, const char* const* argv, std::string& help) {
  Options options;
  CLI::App app{
      "Finds the shapes at which graphs of decode steps cost least, for a request trace, synthetic "
      "traffic or a saved histogram.",
      "tune_sizes"};
  app.get_formatter()->column_width(38);
  constexpr std::int64_t most = std::int64_t{1} << 34, most_bytes = std::int64_t{1} << 40;
  auto traffic = serve_trace::add_traffic_options(app, options.traffic);
  traffic.push_back(add_whole(app, "--seed", options.traffic.seed, 0, std::int64_t{1} << 62,
                              "of synthetic traffic"));
  traffic.push_back(app.add_option("--train-share", options.train_share,
                                   "tune on this first part of the steps and judge on the rest; 1: "
                                   "tune and judge on all")
                        ->check(positive_real(1))
                        ->capture_default_str());
  traffic.push_back(add_whole(app, "--attention-percent", options.attention_percent, 0, 1000,
                              "what an attention row costs, in hundredths of an FFN row"));
  const CLI::Option* const histogram = app.add_option(
      "--histogram", options.histogram,
      "read a saved histogram in place of traffic; ranks and largest size are its own");
  app.add_option("--save-histogram", options.save_histogram,
                 "write what the shapes are tuned from to this file");
  add_choice(app, "--axes", options.axes, axes_names,
             "one size, of a rank (MAX_LEN), or two, of a rank and of all (SUM_LEN)");
  add_whole(app, "--shapes", options.shapes, 1, 1024, "most shapes, the largest included");
  add_whole(app, "--spread", options.spread, 0, 99,
            "expect steps of up to this many percent more or less than those seen, too");
  add_whole(app, "--graph-rows", options.graph_rows, 0, most,
            "FFN rows that a graph must save over all steps to be worth it");
  add_whole(app, "--padding-percent", options.padding.percent, 0, 10000,
            "most FFN rows in a hundred that exist, for any step, seen or not: 100 or more; 0: no "
            "bound");
  add_whole(app, "--skew-percent", options.padding.skew_percent, 0, 100000000,
            "that bound only for steps whose longest rank has up to this share of the ranks' mean: "
            "100 or more; 0: for any");
  add_whole(app, "--byte-budget", options.byte_budget, 0, most_bytes, "of all graphs; 0: none");
  add_whole(app, "--graph-bytes", options.bytes.per_graph, 0, most_bytes,
            "that a graph takes at any size");
  add_whole(app, "--local-bytes", options.bytes.per_local, 0, most,
            "... for each request of its local size");
  add_whole(app, "--global-bytes", options.bytes.per_global, 0, most,
            "... for each of its global size");
  app.add_option("--json", options.json, "write shapes and figures to this file");
  app.add_option("--plot", options.plot, "draw steps and shapes into this PNG, by gnuplot");
  if (!parse(app, argc, argv, help)) return std::nullopt;
  for (const CLI::Option* option : traffic)
    if (histogram->count() > 0 && option->count() > 0)
      throw BadInput(option->get_name() + " is of traffic, and --histogram is in place of that");
  check_together(options);
  return options;
}

}  // namespace tune_sizes
