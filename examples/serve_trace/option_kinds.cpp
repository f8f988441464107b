#include "option_kinds.hpp"

#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

namespace serve_trace {
namespace {

const std::vector<std::string> serve_names = {"mixed",
                                              "decode"};  // in the order of the enumerators

}  // namespace

std::string_view name(Serve serve) {
  return serve_names[static_cast<std::size_t>(serve)];
}

std::string joined(const std::vector<std::string>& names, std::string_view separator) {
  std::string text = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) (text += separator) += names[i];
  return text;
}

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

std::vector<CLI::Option*> add_traffic_options(CLI::App& app, Options& options) {
  std::vector<CLI::Option*> added;
  const auto number = [&](const std::string& option, auto& value, std::int64_t low,
                          std::int64_t high, const std::string& about) {
    added.push_back(
        app.add_option(option, value, about)->check(whole(low, high))->capture_default_str());
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

bool parse(CLI::App& app, int argc, const char* const* argv, std::string& help) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    help = app.help();
    return false;
  } catch (const CLI::ParseError& error) {
    throw BadInput(error.what());
  }
  return true;
}

void check_writable(std::string_view option, const std::string& path) {
  if (path.empty()) return;
  errno = 0;
  if (!std::ofstream(path, std::ios::app))
    throw BadInput(fmt::format("{}: cannot write {}: {}", option, path,
                               std::generic_category().message(errno)));
}

}  // namespace serve_trace
