#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

#include <fmt/format.h>

#include "load.hpp"
#include "options.hpp"
#include "plot.hpp"
#include "result.hpp"

namespace tune_sizes {
namespace {

constexpr int failed = 1, bad_input = 2;

void run_main(int argc, const char* const* argv) {
  std::string help;
  const auto options = parse_options(argc, argv, help);
  if (!options) {
    fmt::print("{}", help);
    return;
  }
  if (!options->plot.empty()) check_gnuplot();
  const Load load = read_load(*options);
  const Result result = tune(*options, load);
  fmt::print("{}", report(*options, load, result));
  if (!options->json.empty()) {
    std::ofstream file(options->json);
    file << to_json(*options, load, result);
    file.close();
    if (!file) throw BadInput(fmt::format("--json: cannot write {}", options->json));
  }
  if (!options->plot.empty()) plot(options->plot, load, result);
}

}  // namespace
}  // namespace tune_sizes

int main(int argc, char** argv) {
  try {
    tune_sizes::run_main(argc, argv);
    return 0;
  } catch (const tune_sizes::BadInput& error) {
    fmt::print(stderr, "tune_sizes: {}\n", error.what());
    return tune_sizes::bad_input;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tune_sizes: {}\n", error.what());
    return tune_sizes::failed;
  }
}
