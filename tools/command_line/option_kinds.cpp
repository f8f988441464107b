#include "option_kinds.hpp"

#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>

#include <fmt/format.h>

namespace command_line {

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

}  // namespace command_line
