// Command-line options of the kinds that these examples take, and those that say which traffic.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "options.hpp"

namespace serve_trace {

inline constexpr int max_world = 1024;    // ranks that serve
inline constexpr int max_planned = 4096;  // ranks of a dry run
inline constexpr std::int64_t max_batch = std::int64_t{1} << 20;

[[nodiscard]] std::string joined(const std::vector<std::string>& names, std::string_view separator);

/// CLI11 cuts fractions and accepts other bases; a whole decimal number within limits is all that
/// is meant here.
[[nodiscard]] CLI::Validator whole(std::int64_t low, std::int64_t high);
[[nodiscard]] CLI::Validator positive_real(double high);

/// An option that takes one of `names`, which are in the order of the enumerators.
template <class Enum>
CLI::Option* add_choice(CLI::App& app, const std::string& option, Enum& value,
                        const std::vector<std::string>& names, const std::string& about) {
  const auto known = [names](std::string& text) -> std::string {
    for (const std::string& name : names)
      if (name == text) return {};
    return "'" + text + "' is unknown, must be one of " + joined(names, ", ");
  };
  const auto set = [&value, names](const std::string& text) {
    for (std::size_t i = 0; i < names.size(); ++i)
      if (names[i] == text) value = static_cast<Enum>(i);
  };
  return app.add_option_function<std::string>(option, set, about)
      ->check(CLI::Validator(known, joined(names, "|")))
      ->default_str(names[static_cast<std::size_t>(value)]);
}

/// --trace or what synthetic traffic is made from, how it is served, and on how many ranks. Returns
/// the options it added.
std::vector<CLI::Option*> add_traffic_options(CLI::App& app, Options& options);

/// False if help was asked for, which is then in `help`. Throws BadInput.
[[nodiscard]] bool parse(CLI::App& app, int argc, const char* const* argv, std::string& help);

/// A file that cannot be written is found now and not after an hour of serving; its present content
/// stays until then. Throws BadInput.
void check_writable(std::string_view option, const std::string& path);

}  // namespace serve_trace
