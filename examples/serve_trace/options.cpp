#include "options.hpp"

#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "command_line/option_kinds.hpp"
#include "traffic_options.hpp"

namespace serve_trace {
namespace {

using command_line::add_choice;
using command_line::add_whole;
using command_line::check_writable;
using command_line::parse;
using command_line::whole;

constexpr int max_threads_of_a_gpu = 64;  // ranks of ThreadComm<DeviceMemory>

// Names in the order of the enumerators.
const std::vector<std::string> mode_names = {"max_len",      "sum_len",      "sum_len_v",
                                             "sum_len_peer", "sum_len_hier", "auto"};
const std::vector<std::string> rule_names = {"volume", "volume_tie_max"};
const std::vector<std::string> comm_names = {"thread", "mpi", "sim", "sim_thread"};
const std::vector<std::string> schedule_names = {"late", "random", "eager"};

void check_together(const Options& options, bool schedule_given) {
  const int world = options.ranks * options.attn_tp;
  const int most = options.dry_run ? max_planned : max_world;
  if (world > most)
    throw BadInput(fmt::format("--ranks {} times --attn-tp {} is {} ranks, at most {} can be {}",
                               options.ranks, options.attn_tp, world, most,
                               options.dry_run ? "planned" : "run"));
  if (!options.counts.empty() && !options.dry_run)
    throw BadInput(fmt::format("--counts {} is written by --dry-run alone", options.counts));
  if (options.comm == CommChoice::sim_thread && world > max_threads_of_a_gpu)
    throw BadInput(fmt::format("--comm sim_thread runs at most {} ranks, these are {}",
                               max_threads_of_a_gpu, world));
  if (options.dry_run && options.comm != CommChoice::thread)
    throw BadInput(fmt::format("--dry-run plans all ranks in one process, it takes no --comm {}",
                               name(options.comm)));
  if (options.ranks % options.hosts != 0)
    throw BadInput(fmt::format("--hosts {} must divide --ranks {}", options.hosts, options.ranks));
  const bool by_peers =
      options.mode == ModeChoice::sum_len_peer || options.mode == ModeChoice::sum_len_hier;
  if (by_peers && !offers_peers(options.comm))
    throw BadInput(fmt::format(
        "--mode {} needs ranks that reach each other's memory, those of --comm {} do not",
        name(options.mode), name(options.comm)));
  if (options.mode == ModeChoice::sum_len_peer && options.hosts > 1)
    throw BadInput(fmt::format(
        "--mode sum_len_peer needs all ranks on one host, --hosts is {}; take sum_len_hier",
        options.hosts));
  if (schedule_given && !is_simulated(options.comm))
    throw BadInput(fmt::format("--schedule is of --comm sim and sim_thread, not of --comm {}",
                               name(options.comm)));
}

}  // namespace

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
  add_traffic_options(app, options);
  add_choice(app, "--mode", options.mode, mode_names, "how rows travel");
  add_choice(app, "--rule", options.rule, rule_names, "what --mode auto chooses by");
  app.add_flag("!--no-peers", options.peers,
               "--mode auto does without stores into other ranks' memory");
  add_whole(
      app, "--hosts", options.hosts, 1, max_world,
      "ranks are on N hosts, equally many on each, and reach each other's memory on each only");
  app.add_option("--shapes", options.shapes,
                 "capture at the shapes of this file, which tune_sizes --json wrote; without it, "
                 "at SGLang's default sizes");
  app.add_flag("--retune", options.retune, "tune shapes anew when the traffic drifts from them");
  add_whole(app, "--graphs", options.graphs, 0, 1024,
            "most graphs held, the latest used; 0: no limit");
  add_whole(app, "--hidden", options.hidden, min_hidden, max_hidden,
            "hidden size H; the largest keeps every sum exact in float");
  app.add_option("--steps", options.steps, "serve only the first N steps")
      ->check(whole(1, std::int64_t{1} << 30));
  add_whole(app, "--seed", options.seed, 0, std::int64_t{1} << 62,
            "of weights, synthetic traffic and the schedule of simulated GPUs");
  add_choice(app, "--comm", options.comm, comm_names,
             "ranks are threads, or the processes that mpirun started; sim: threads with GPUs "
             "that a simulation of CUDA and NCCL plays, sim_thread: the same without NCCL");
  const CLI::Option* const schedule =
      add_choice(app, "--schedule", options.schedule, schedule_names,
                 "when simulated GPUs do their work: hardly before everybody waits, any time, at "
                 "once");
  app.add_flag("--dry-run", options.dry_run, "plan only: no data moves, nothing is checked");
  app.add_option("--counts", options.counts,
                 "write the rows of each rank in each step to this CSV file (with --dry-run)");
  app.add_option("--json", options.json, "write the figures to this file");
  if (!parse(app, argc, argv, help)) return std::nullopt;
  check_together(options, schedule->count() > 0);
  check_writable("--json", options.json);
  check_writable("--counts", options.counts);
  return options;
}

}  // namespace serve_trace
