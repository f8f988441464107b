#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace serve_trace {
namespace {

constexpr int max_world = 1024;
constexpr int max_threads_of_a_gpu = 64;  // ranks of ThreadComm<DeviceMemory>
constexpr std::int64_t max_batch = std::int64_t{1} << 20;

// Names in the order of the enumerators.
const std::vector<std::string> serve_names = {"mixed", "decode"};
const std::vector<std::string> mode_names = {"max_len", "sum_len", "sum_len_v", "auto"};
const std::vector<std::string> rule_names = {"volume", "volume_tie_max"};
const std::vector<std::string> comm_names = {"thread", "mpi", "sim", "sim_thread"};
const std::vector<std::string> schedule_names = {"late", "random", "eager"};

std::string joined(const std::vector<std::string>& names, std::string_view separator) {
  std::string text = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) (text += separator) += names[i];
  return text;
}

/// CLI11 cuts fractions and accepts other bases; a whole decimal number within limits is all that
/// is meant here.
CLI::Validator whole(std::int64_t low, std::int64_t high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        std::int64_t value = 0;
        const char* end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        if (error == std::errc{} && stop == end && value >= low && value <= high)
          return std::string{};
        return fmt::format("'{}' is not a whole number from {} to {}", text, low, high);
      },
      fmt::format("{}..{}", low, high));
}

CLI::Validator positive_real(double high) {
  return CLI::Validator(
      [high](std::string& text) {
        double value = 0;
        const char* end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, value);
        if (error == std::errc{} && stop == end && value > 0 && value <= high) return std::string{};
        return fmt::format("'{}' is not a number above 0 and up to {}", text, high);
      },
      fmt::format("0..{}", high));
}

template <class Enum>
CLI::Option* add_choice(CLI::App& app, const std::string& option, Enum& value,
                        const std::vector<std::string>& names, const std::string& about) {
  const auto known = [names](std::string& text) {
    if (std::find(names.begin(), names.end(), text) != names.end()) return std::string{};
    return fmt::format("'{}' is unknown, must be one of {}", text, joined(names, ", "));
  };
  const auto set = [&value, names](const std::string& text) {
    value = static_cast<Enum>(std::find(names.begin(), names.end(), text) - names.begin());
  };
  return app.add_option_function<std::string>(option, set, about)
      ->check(CLI::Validator(known, joined(names, "|")))
      ->default_str(names[static_cast<std::size_t>(value)]);
}

void check_together(const Options& options, bool schedule_given) {
  const int world = options.ranks * options.attn_tp;
  if (world > max_world)
    throw BadInput(fmt::format("--ranks {} times --attn-tp {} is {} ranks, at most {} can be run",
                               options.ranks, options.attn_tp, world, max_world));
  if (options.comm == CommChoice::sim_thread && world > max_threads_of_a_gpu)
    throw BadInput(fmt::format("--comm sim_thread runs at most {} ranks, these are {}",
                               max_threads_of_a_gpu, world));
  if (options.dry_run && options.comm != CommChoice::thread)
    throw BadInput(fmt::format("--dry-run plans all ranks in one process, it takes no --comm {}",
                               name(options.comm)));
  if (schedule_given && !is_simulated(options.comm))
    throw BadInput(fmt::format("--schedule is of --comm sim and sim_thread, not of --comm {}",
                               name(options.comm)));
}

/// A file that cannot be written is found now and not after an hour of serving; its present content
/// stays until then.
void check_writable(const std::string& path) {
  if (path.empty()) return;
  errno = 0;
  if (!std::ofstream(path, std::ios::app))
    throw BadInput(
        fmt::format("--json: cannot write {}: {}", path, std::generic_category().message(errno)));
}

}  // namespace

std::string_view name(Serve serve) {
  return serve_names[static_cast<std::size_t>(serve)];
}
std::string_view name(ModeChoice mode) {
  return mode_names[static_cast<std::size_t>(mode)];
}
std::string_view name(RuleChoice rule) {
  return rule_names[static_cast<std::size_t>(rule)];
}
std::string_view name(CommChoice comm) {
  return comm_names[static_cast<std::size_t>(comm)];
}
std::string_view name(ScheduleChoice schedule) {
  return schedule_names[static_cast<std::size_t>(schedule)];
}

std::optional<Options> parse_options(int argc, const char* const* argv, std::string& help) {
  Options options;
  CLI::App app{
      "Serves a request trace, or synthetic traffic, on data-parallel ranks through dpgather and "
      "checks every output row.",
      "serve_trace"};
  app.get_formatter()->column_width(38);
  const auto number = [&app](const std::string& option, auto& value, std::int64_t low,
                             std::int64_t high, const std::string& about) {
    app.add_option(option, value, about)->check(whole(low, high))->capture_default_str();
  };
  app.add_option("--trace", options.trace,
                 "CSV with TIMESTAMP, ContextTokens, GeneratedTokens; without it, synthetic "
                 "traffic is served");
  add_choice(app, "--serve", options.serve, serve_names,
             "prefill and decode in one instance, or the decode instance of a split deployment");
  number("--ranks", options.ranks, 1, max_world, "attention data-parallel size W");
  number("--attn-tp", options.attn_tp, 1, max_world, "attention tensor-parallel size A");
  number("--chunk", options.chunk, 1, max_batch, "rows of a mixed step of one rank");
  number("--max-running", options.max_running, 1, max_batch, "requests that run on one rank");
  number("--step-ms", options.step_ms, 1, 1000000, "milliseconds a step stands for");
  number("--speedup", options.speedup, 1, 1000000, "trace time passes this much faster");
  add_choice(app, "--mode", options.mode, mode_names, "how rows travel");
  add_choice(app, "--rule", options.rule, rule_names, "what --mode auto chooses by");
  number("--hidden", options.hidden, min_hidden, max_hidden,
         "hidden size H; the largest keeps every sum exact in float");
  app.add_option("--steps", options.steps, "serve only the first N steps")
      ->check(whole(1, std::int64_t{1} << 30));
  number("--seed", options.seed, 0, std::int64_t{1} << 62,
         "of weights, synthetic traffic and the schedule of simulated GPUs");
  number("--requests", options.requests, 1, 10000000, "of synthetic traffic");
  app.add_option("--rate", options.rate, "requests a second of synthetic traffic")
      ->check(positive_real(1e6))
      ->capture_default_str();
  add_choice(app, "--comm", options.comm, comm_names,
             "ranks are threads, or the processes that mpirun started; sim: threads with GPUs "
             "that a simulation of CUDA and NCCL plays, sim_thread: the same without NCCL");
  const CLI::Option* const schedule =
      add_choice(app, "--schedule", options.schedule, schedule_names,
                 "when simulated GPUs do their work: hardly before everybody waits, any time, at "
                 "once");
  app.add_flag("--dry-run", options.dry_run, "plan only: no data moves, nothing is checked");
  app.add_option("--json", options.json, "write the figures to this file");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    help = app.help();
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw BadInput(error.what());
  }
  check_together(options, schedule->count() > 0);
  check_writable(options.json);
  return options;
}

}  // namespace serve_trace
