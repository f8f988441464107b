#include "options.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "command_line/option_kinds.hpp"

namespace step_cost {

std::optional<Options> parse_options(int argc, const char* const* argv, int processes,
                                     std::string& help) {
  Options options;
  CLI::App app(
      "Times whole steps - agreement, padding, gather, and the way back - by every mode and rule "
      "in "
      "turn, beside copies of the same bytes and two barriers.",
      processes > 0 ? "step_cost_mpi" : "step_cost");
  const auto number = [&](const std::string& option, auto& value, std::int64_t low,
                          std::int64_t high, const std::string& about) {
    app.add_option(option, value, about)->check(CLI::Range(low, high))->capture_default_str();
  };
  if (processes == 0) number("--ranks", options.ranks, 1, max_ranks, "threads");
  number("--hidden", options.hidden, 1, 1 << 20, "elements (bf16) of a row");
  number("--steps", options.steps, 1, 1000000, "of a pass");
  number("--passes", options.passes, 1, 1000, "over the steps; the median counts");
  number("--most", options.most, 16, 65536, "rows of a rank that prefills, of synthetic steps");
  number("--seed", options.seed, 0, std::int64_t{1} << 62, "of synthetic steps");
  app.add_option(
      "--counts", options.counts,
      "steps of a trace, as serve_trace --dry-run --counts writes them: --steps of them, "
      "evenly spaced");
  app.add_flag("--rewrite,!--no-rewrite", options.rewrite,
               "ranks write what they send before each step, as a model does, so that it is in no "
               "cache of their peers; on by default");
  app.add_flag("--pin,!--no-pin", options.pin,
               "keep ranks on cores, round and round if there are fewer; on by default");
  app.add_option("--json", options.json, "file for the results");
  if (!command_line::parse(app, argc, argv, help)) return std::nullopt;
  if (processes > max_ranks)
    throw BadInput(
        fmt::format("mpirun started {} processes, at most {} are measured", processes, max_ranks));
  if (processes > 0) options.ranks = processes;
  return options;
}

}  // namespace step_cost
