#include "options.hpp"

#include <cstddef>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "command_line/option_kinds.hpp"

namespace gather_perf {

namespace {

/// Takes the name of one of `values` for its number.
template <class Enum>
CLI::Validator choice(const std::vector<Enum>& values) {
  return CLI::Validator(
      [values](std::string& text) -> std::string {
        std::string all;
        for (const Enum value : values) {
          if (name(value) == text) return text = std::to_string(static_cast<int>(value)), "";
          all += fmt::format("{}{}", all.empty() ? "" : ", ", name(value));
        }
        return fmt::format("'{}' is unknown, must be one of {}", text, all);
      },
      "");
}

/// Those up to `last`.
template <class Enum>
std::vector<Enum> up_to(Enum last) {
  std::vector<Enum> values;
  for (int i = 0; i <= static_cast<int>(last); ++i) values.push_back(static_cast<Enum>(i));
  return values;
}

template <class Enum>
void add_list(CLI::App& app, const std::string& option, std::vector<Enum>& values, Enum last,
              const std::string& about) {
  app.add_option(option, values, about)->delimiter(',')->transform(choice(up_to(last)));
}

constexpr std::int64_t max_bytes = std::int64_t{1} << 32;
constexpr std::int64_t max_elements = (std::int64_t{1} << 31) - 1;  // MPI and Gloo count in int

CLI::Option* add_size(CLI::App& app, const std::string& option, std::int64_t& value,
                      const std::string& about) {
  return app.add_option(option, value, about)
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::int64_t{1}, max_bytes));
}

/// What one option by itself does not show.
void check(const Options& options, bool threads_given, int processes) {
  if (options.end < options.begin)
    throw BadInput(fmt::format("--maxbytes is {}, must not be below --minbytes, {}", options.end,
                               options.begin));
  if (processes > max_ranks)
    throw BadInput(
        fmt::format("mpirun started {} processes, at most {} are measured", processes, max_ranks));
  if (threads_given && processes > 0 && options.ranks != processes)
    throw BadInput(
        fmt::format("--nthreads is {}, but mpirun started {} processes: both run as many ranks",
                    options.ranks, processes));
  const int ranks = processes > 0 ? processes : options.ranks;
  if (ranks % options.hosts != 0)
    throw BadInput(
        fmt::format("--hosts is {}, must divide the number of ranks, {}", options.hosts, ranks));
  if (options.end / 2 > max_elements)
    throw BadInput(fmt::format("--maxbytes is {}, at most {} elements are measured", options.end,
                               max_elements));
  for (const Spread spread : options.spreads)
    if (spread == Spread::trace && options.trace_counts.empty())
      throw BadInput("--counts trace draws from a file: name it by --trace-counts");
}

}  // namespace

std::optional<Options> parse_options(int argc, const char* const* argv, int processes,
                                     std::string& help) {
  Options options;
  CLI::App app(
      "Times collectives and gathers, in the manner of nccl-tests. Sizes are bytes of the whole, "
      "and may end in K, M or G (1024). `mpirun -np W` measures W processes and W threads.",
      "gather_perf");
  add_list(app, "--what", options.what, What::back,
           "barrier, all_gather, reduce_scatter, all_reduce, all_gather_v, reduce_scatter_v, and a "
           "DpGather's gather and back (its reduce_scatter); several by commas");
  add_list(
      app, "--comm", options.comms, Comm::copy,
      "thread, mpi, open_mpi (its own calls), gloo, copy (the same bytes by threads that never "
      "meet); default: all there are");
  add_list(app, "--mode", options.modes, Mode::automatic,
           "of a DpGather: max_len, sum_len_all_reduce, sum_len_all_gather_v, sum_len_peer_store, "
           "sum_len_hierarchical, auto");
  add_list(app, "--counts", options.spreads, Spread::trace,
           "rows of the ranks, where they may differ: even, linear, one_hot, trace");
  add_size(app, "-b,--minbytes", options.begin, "smallest size");
  add_size(app, "-e,--maxbytes", options.end, "largest size");
  const auto number = [&](const std::string& option, auto& value, std::int64_t low,
                          std::int64_t high, const std::string& about) {
    return app.add_option(option, value, about)
        ->check(CLI::Range(low, high))
        ->capture_default_str();
  };
  number("-f,--stepfactor", options.factor, 2, 1024, "from one size to the next");
  number("-n,--iters", options.iterations, 1, 1000000, "calls of a round");
  number("-w,--warmup_iters", options.warmups, 0, 1000000, "calls before each round");
  number("-N,--rounds", options.rounds, 1, 1000,
         "all contenders run in turn, so many times: the median counts");
  number("-c,--check", options.check, 0, 1, "of results");
  number("--in-place", options.in_place, 0, 1, "measure in place too");
  auto* threads = number("-t,--nthreads", options.ranks, 1, max_ranks, "ranks");
  app.add_flag("--pin,!--no-pin", options.pin,
               "keep ranks on cores, round and round if there are fewer; on by default");
  number("--hosts", options.hosts, 1, max_ranks, "that a DpGather is told of");
  number("--hidden", options.hidden, 1, 1 << 20, "elements of a row, where rows are counted");
  number("--seed", options.seed, 0, std::int64_t{1} << 62, "of steps drawn from the trace");
  app.add_option("--seconds", options.seconds,
                 "of a round of one contender: fewer calls if need be")
      ->check(CLI::Range(1e-3, 60.0))
      ->capture_default_str();
  app.add_option("-d,--datatype", options.dtype, "bf16 (the default) or float")
      ->transform(choice(std::vector{dpgather::DType::bfloat16, dpgather::DType::float32}));
  app.add_option("--trace-counts", options.trace_counts,
                 "counts of steps, as serve_trace --dry-run --counts writes them");
  app.add_option("--json", options.json, "file for the results");
  if (!command_line::parse(app, argc, argv, help)) return std::nullopt;
  check(options, threads->count() > 0, processes);
  if (processes > 0) options.ranks = processes;
  return options;
}

}  // namespace gather_perf
