#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include <fmt/format.h>

#include "dry_run.hpp"
#include "json.hpp"
#include "launcher.hpp"
#include "progress.hpp"
#include "replay.hpp"
#include "report.hpp"
#include "serve.hpp"
#include "synthetic.hpp"

namespace serve_trace {
namespace {

constexpr int failed = 1, bad_input = 2;

Figures serve(const Options& options, const Trace& trace, const Hooks& hooks) {
  switch (options.comm) {
    case CommChoice::mpi:
      return serve_mpi(options, trace, hooks);
    case CommChoice::sim:
      return serve_sim(options, trace, hooks);
    case CommChoice::sim_thread:
      return serve_sim_thread(options, trace, hooks);
    case CommChoice::thread:
      break;
  }
  return serve_threads(options, trace, hooks);
}

Figures run(const Options& options, const Trace& trace) {
  Progress progress(options.steps, rows_owed(trace, options.serve));
  Hooks hooks{.tamper = {}, .on_step = [&progress](std::int64_t steps, std::int64_t rows) {
                progress.update(steps, rows);
              }};
  if (is_simulated(options.comm)) hooks.on_step = {};  // a rank's time is virtual there
  const auto start = std::chrono::steady_clock::now();
  Figures figures =
      options.dry_run ? dry_run(options, trace, hooks.on_step) : serve(options, trace, hooks);
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return figures;
}

int run_main(int argc, const char* const* argv) {
  std::string help;
  const auto options = parse_options(argc, argv, help);
  if (!options) {
    if (speaks_for_host()) fmt::print("{}", help);
    return 0;
  }
  const Trace trace = traffic(*options);
  const Figures figures = run(*options, trace);
  if (figures.rank == 0) {
    fmt::print("{}", report(*options, trace, figures));
    if (!options->json.empty()) write_json(options->json, to_json(*options, trace.name, figures));
  }
  return figures.good() ? 0 : failed;
}

}  // namespace
}  // namespace serve_trace

int main(int argc, char** argv) {
  using namespace serve_trace;
  try {
    return run_main(argc, argv);
  } catch (const BadInput& error) {
    if (speaks_for_host()) fmt::print(stderr, "serve_trace: {}\n", error.what());
    return bad_input;
  } catch (const std::exception& error) {
    fmt::print(stderr, "serve_trace: {}\n", error.what());
    return failed;
  }
}
