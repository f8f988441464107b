// Command-line options of the kinds that examples and benches take.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "bad_input.hpp"

namespace command_line {

[[nodiscard]] std::string joined(const std::vector<std::string>& names, std::string_view separator);

/// CLI11 cuts fractions and accepts other bases; a whole decimal number within limits is all that
/// is meant here.
[[nodiscard]] CLI::Validator whole(std::int64_t low, std::int64_t high);
[[nodiscard]] CLI::Validator positive_real(double high);

/// An option that takes a whole number from `low` to `high`.
template <class Number>
CLI::Option* add_whole(CLI::App& app, const std::string& option, Number& value, std::int64_t low,
                       std::int64_t high, const std::string& about) {
  return app.add_option(option, value, about)->check(whole(low, high))->capture_default_str();
}

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

/// False if help was asked for, which is then in `help`. Throws BadInput.
[[nodiscard]] bool parse(CLI::App& app, int argc, const char* const* argv, std::string& help);

/// A file that cannot be written is found now and not after an hour of serving; its present content
/// stays until then. Throws BadInput.
void check_writable(std::string_view option, const std::string& path);

}  // namespace command_line
