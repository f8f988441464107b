// Latency of an agreement, against bare barriers of the same ranks, and what of it is left beside work
// between post and wait; by control plane and number of ranks.
#include <fstream>
#include <map>
#include <optional>
#include <thread>

#include <CLI/CLI.hpp>

#include "agree_latency/ranks.hpp"
#include "agree_latency/report.hpp"
#ifdef AGREE_LATENCY_MPI
#include "agree_latency/mpi_ranks.hpp"
#endif

namespace {

using namespace agree_latency;

const std::map<std::string, Plane> planes{{"thread", Plane::thread},
                                          {"shared_memory", Plane::shared_memory},
                                          {"shared_memory_threads", Plane::shared_memory_threads},
                                          {"mpi", Plane::mpi}};

struct Options {
  std::vector<std::string> controls{"thread", "shared_memory", "shared_memory_threads"};
  std::vector<int> ranks{2, 4, 8};
  std::vector<double> works{50, 200, 1000};
  int runs = 5;
  bool pin = true;
  Plan plan;
  std::string json;
};

void add_options(CLI::App& app, Options& options) {
  std::vector<std::string> names;
  for (const auto& plane : planes) names.push_back(plane.first);
  app.add_option("--control", options.controls,
                 "control planes; mpi takes its ranks from mpirun and goes alone")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("--ranks", options.ranks, "numbers of ranks, each in turn")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  app.add_option("--work", options.works, "microseconds of work between post and wait")
      ->check(CLI::Range(1.0, 1e5))
      ->capture_default_str();
  app.add_option("--steps", options.plan.steps, "of a run, without work")
      ->check(CLI::Range(100, 100000))
      ->capture_default_str();
  app.add_option("--warm-up", options.plan.warm_up, "steps that do not count")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app.add_option("--work-steps", options.plan.work_steps, "of a run, for each work")
      ->check(CLI::Range(100, 100000))
      ->capture_default_str();
  app.add_option("--runs", options.runs, "medians are over these")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--pin,!--no-pin", options.pin,
               "keep ranks on cores, round and round if there are fewer; on by default");
  app.add_option("--json", options.json, "file to write");
}

/// Every run, each at all numbers of ranks, so that a drift of the machine meets all alike.
template <class RunOnce>
void repeat(const Options& options, std::vector<Result>& results, const RunOnce& run_once) {
  for (int run = 0; run < options.runs; ++run)
    for (Result& result : results) {
      const Plan& plan = options.plan;
      const Samples samples(plan.series(result.barriers.size()), result.ranks, plan.most_steps());
      run_once(result, samples);
      result.runs.emplace_back(samples, plan, result.barriers.size());
    }
}

void report(const std::vector<Result>& results, std::ofstream& json) {
  const unsigned cores = std::thread::hardware_concurrency();
  nlohmann::json all = nlohmann::json::array();
  for (const Result& result : results) {
    print(result, cores);
    all.push_back(to_json(result, cores));
  }
  if (!json.is_open()) return;
  json << all.dump(1) << '\n';
  if (!json.flush()) throw std::runtime_error("the JSON file could not be written");
}

Result result_of(const std::string& control, int ranks, const Options& options) {
  return {.control = control,
          .ranks = ranks,
          .setting = "",
          .barriers = barriers_of(planes.at(control)),
          .plan = options.plan,
          .runs = {}};
}

std::ofstream opened(const std::string& path) {
  std::ofstream file;
  if (path.empty()) return file;
  file.open(path);
  if (!file) throw std::runtime_error("--json: cannot write " + path);
  return file;
}

void on_this_host(const Options& options) {
  std::ofstream json = opened(options.json);
  std::vector<Result> results;
  for (const std::string& control : options.controls)
    for (const int ranks : options.ranks) {
      results.push_back(result_of(control, ranks, options));
      if (options.pin) results.back().setting = "pinned";
    }
  repeat(options, results, [&](const Result& result, const Samples& samples) {
    const Plane plane = planes.at(result.control);
    if (plane == Plane::shared_memory)
      run_processes(result.ranks, options.pin, options.plan, samples);
    else
      run_threads(plane, result.ranks, options.pin, options.plan, samples);
  });
  report(results, json);
}

#ifdef AGREE_LATENCY_MPI
/// Returns the exit status. What is wrong is told by rank 0 alone, and ends all.
int by_mpi(const Options& options, int argc, char** argv) {
  const dpgather::MpiEnvironment environment(argc, argv);
  return environment.run([&] {
    const int ranks = dpgather::mpi::size_of(MPI_COMM_WORLD);
    const bool first = dpgather::mpi::rank_of(MPI_COMM_WORLD) == 0;
    std::ofstream json;
    int wrong = 0;
    if (first) try {
        if (ranks < 2)
          throw std::runtime_error("--control mpi has 1 rank, needs 2 or more: mpirun -np N");
        json = opened(options.json);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "agree_latency: %s\n", error.what());
        wrong = 1;
      }
    dpgather::mpi::check(MPI_Bcast(&wrong, 1, MPI_INT, 0, MPI_COMM_WORLD), "MPI_Bcast");
    if (wrong != 0) return 2;
    std::vector<Result> results{result_of("mpi", ranks, options)};
    const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle");
    results[0].setting = std::string(options.pin ? "pinned, " : "") + "mpi_yield_when_idle " +
                         (yields == nullptr ? "not set" : yields);
    repeat(options, results, [&](const Result&, const Samples& samples) {
      run_mpi(options.plan, options.pin, samples);
    });
    if (first) report(results, json);
    return 0;
  });
}
#endif

}  // namespace

int main(int argc, char** argv) {
#ifdef AGREE_LATENCY_MPI
  CLI::App app("Latency of an agreement by control plane (built with MPI)");
#else
  CLI::App app("Latency of an agreement by control plane (built without MPI)");
#endif
  Options options;
  add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  for (const double us : options.works)
    for (const bool uneven : {false, true}) options.plan.works.push_back({us, uneven});
  try {
    const bool mpi = std::count(options.controls.begin(), options.controls.end(), "mpi") != 0;
    if (!mpi) {
      on_this_host(options);
      return 0;
    }
    if (options.controls.size() > 1 || app.count("--ranks") > 0)
      throw std::runtime_error(
          "--control mpi goes without other planes and --ranks: mpirun says how many");
#ifdef AGREE_LATENCY_MPI
    return by_mpi(options, argc, argv);
#else
    throw std::runtime_error("--control mpi: built without MPI");
#endif
  } catch (const std::exception& error) {
    std::fprintf(stderr, "agree_latency: %s\n", error.what());
    return 2;
  }
}
