// gather_perf: times collectives and gathers in the manner of nccl-tests, against MPI, Gloo and
// plain copies in one run. `mpirun -np W gather_perf` has W processes, and W threads of the first.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench.hpp"
#include "common/trace_counts.hpp"
#include "options.hpp"
#include "table.hpp"
#include "world.hpp"

namespace gather_perf {
namespace {

/// The cases of a run, in order. Those of a trace draw a step each.
class Cases {
 public:
  explicit Cases(const Options& options) : options_(options), random_(options.seed) {
    if (!options.trace_counts.empty())
      steps_ = bench::read_trace_counts(options.trace_counts, options.ranks);
  }
  template <class F>
  void for_each(const F& f) {
    for (const What what : options_.what) {
      const std::vector even{Spread::even};
      for (const Spread spread : is_ragged(what) ? options_.spreads : even)
        for (std::int64_t bytes = options_.begin; bytes <= options_.end; bytes *= options_.factor) {
          f(make(what, spread, bytes));
          if (what == What::barrier) break;
        }
    }
  }

 private:
  Case make(What what, Spread spread, std::int64_t bytes) {
    Case of{.what = what,
            .spread = spread,
            .dtype = options_.dtype,
            .ranks = options_.ranks,
            .hosts = options_.hosts,
            .width = is_ragged(what) ? options_.hidden : 1};
    const std::int64_t total = bytes / (bytes_of(of.dtype) * of.width);
    const std::vector<std::int64_t> none;
    of.rows = spread_rows(spread, std::max<std::int64_t>(total, 1), of.ranks,
                          spread == Spread::trace ? steps_[random_() % steps_.size()] : none);
    return of;
  }

  const Options& options_;
  std::mt19937_64 random_;
  std::vector<std::vector<std::int64_t>> steps_;
};

std::string settings_of(const Options& options, const Processes& processes) {
  const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle");
  return fmt::format(
      "{} ranks on {} cores{}; threads{}; {} calls after {} in each of {} rounds, medians; rows of "
      "{} "
      "elements{}",
      options.ranks, std::thread::hardware_concurrency(), options.pin ? ", pinned" : "",
      processes.of_mpirun() ? fmt::format(", and processes, mpi_yield_when_idle {}",
                                          yields == nullptr ? "not set" : yields)
                            : "",
      options.iterations, options.warmups, options.rounds, options.hidden,
      options.trace_counts.empty() ? "" : fmt::format(", seed {}", options.seed));
}

/// Out of place and in place of one contender share a line.
std::string lines(const std::vector<Result>& out_of_place, const std::vector<Result>& in_place) {
  const auto same = [](const Result& a) {
    return [&a](const Result& b) { return a.comm == b.comm && a.mode == b.mode; };
  };
  std::string text;
  for (const Result& result : out_of_place) {
    const auto other = std::find_if(in_place.begin(), in_place.end(), same(result));
    text += line(&result, other == in_place.end() ? nullptr : &*other);
  }
  for (const Result& result : in_place)
    if (std::none_of(out_of_place.begin(), out_of_place.end(), same(result)))
      text += line(nullptr, &result);
  return text;
}

/// Now, and not after the measuring. The first process writes; all hear whether it can.
void check_writable(const std::string& path, const Processes& processes) {
  const bool writes = processes.rank() == 0 && !path.empty();
  if (processes.share(!writes || std::ofstream(path, std::ios::app) ? 1 : 0) == 0)
    throw BadInput(fmt::format("--json: cannot write {}", path));
}

/// The number of values that were wrong.
std::int64_t measure(const Options& options, const Processes& processes) {
  const bool speaks = processes.rank() == 0;
  const auto say = [&](std::string_view text) {
    if (!speaks) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  Cases cases(options);
  check_writable(options.json, processes);
  Bench bench(options, processes);
  if (!bench.has_any()) throw BadInput("--comm: " + bench.absent().front());
  const std::string settings = settings_of(options, processes);
  say(fmt::format("# gather_perf: {}\n", settings));
  for (const std::string& reason : bench.absent()) say(fmt::format("# {}\n", reason));
  say(heading());
  std::vector<Result> all;
  cases.for_each([&](Case of) {
    const std::vector<Result> out_of_place = bench.run(of);
    of.in_place = true;
    std::vector<Result> in_place;
    if (options.in_place && of.what != What::barrier) in_place = bench.run(of);
    say(lines(out_of_place, in_place));
    all.insert(all.end(), out_of_place.begin(), out_of_place.end());
    all.insert(all.end(), in_place.begin(), in_place.end());
  });
  for (const std::string& name : bench.left_out())
    say(fmt::format("# left out: {}: there is none between these ranks\n", name));
  say(footing(all));
  if (speaks && !options.json.empty()) {
    std::ofstream file(options.json);
    file << to_json(all, settings);
    if (!file.flush()) throw std::runtime_error(fmt::format("cannot write {}", options.json));
  }
  std::int64_t wrong = 0;
  for (const Result& result : all) wrong += std::max<std::int64_t>(result.wrong, 0);
  return wrong;
}

}  // namespace
}  // namespace gather_perf

int main(int argc, char** argv) {
  using namespace gather_perf;
  const Processes processes(argc, argv);
  try {
    std::string help;
    const auto options =
        parse_options(argc, argv, processes.of_mpirun() ? processes.size() : 0, help);
    if (!options) {
      if (processes.rank() == 0) std::fputs(help.c_str(), stdout);
      return 0;
    }
    return measure(*options, processes) == 0 ? 0 : 1;
  } catch (const BadInput& error) {
    // All processes have found it.
    if (processes.rank() == 0) std::fprintf(stderr, "gather_perf: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    processes.give_up(processes.rank(), error.what());
  }
}
