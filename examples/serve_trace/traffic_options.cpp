#include "traffic_options.hpp"

#include <string_view>

#include "command_line/option_kinds.hpp"

namespace serve_trace {
namespace {

using command_line::add_choice;
using command_line::add_whole;
using command_line::positive_real;

const std::vector<std::string> serve_names = {"mixed",
                                              "decode"};  // in the order of the enumerators

}  // namespace

std::string_view name(Serve serve) {
  return serve_names[static_cast<std::size_t>(serve)];
}

std::vector<CLI::Option*> add_traffic_options(CLI::App& app, Options& options) {
  std::vector<CLI::Option*> added;
  const auto number = [&](const std::string& option, auto& value, std::int64_t low,
                          std::int64_t high, const std::string& about) {
    added.push_back(add_whole(app, option, value, low, high, about));
  };
  added.push_back(app.add_option("--trace", options.trace,
                                 "CSV with TIMESTAMP, ContextTokens, GeneratedTokens; without it, "
                                 "traffic is synthetic"));
  added.push_back(add_choice(
      app, "--serve", options.serve, serve_names,
      "prefill and decode in one instance, or the decode instance of a split deployment"));
  number("--ranks", options.ranks, 1, max_planned, "attention data-parallel size W");
  number("--attn-tp", options.attn_tp, 1, max_world, "attention tensor-parallel size A");
  number("--chunk", options.chunk, 1, max_batch, "rows of a mixed step of one rank");
  number("--max-running", options.max_running, 1, max_batch, "requests that run on one rank");
  number("--step-ms", options.step_ms, 1, 1000000, "milliseconds a step stands for");
  number("--speedup", options.speedup, 1, 1000000, "trace time passes this much faster");
  number("--requests", options.requests, 1, 10000000, "of synthetic traffic");
  added.push_back(app.add_option("--rate", options.rate, "requests a second of synthetic traffic")
                      ->check(positive_real(1e6))
                      ->capture_default_str());
  return added;
}

}  // namespace serve_trace
