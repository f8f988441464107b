#include "trace.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include <dpgather/core/hash.hpp>

#include "options.hpp"

namespace serve_trace {
namespace {

constexpr std::int64_t max_tokens = 10'000'000;
constexpr std::array<std::string_view, 3> columns = {"TIMESTAMP", "ContextTokens",
                                                     "GeneratedTokens"};

/// Where the reader is; every error says so.
struct Place {
  const std::string& file;
  std::int64_t line;

  [[noreturn]] void fail(std::string_view what) const {
    throw BadInput(fmt::format("{}:{}: {}", file, line, what));
  }
};

void split(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (;;) {
    const auto comma = line.find(',');
    fields.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return;
    line.remove_prefix(comma + 1);
  }
}

/// All of `text` as digits.
std::optional<std::int64_t> digits(std::string_view text) {
  std::int64_t value = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "2023-11-16 18:15:46.6805900", up to 7 digits after the point, in 100 ns units since 1970.
std::optional<std::int64_t> parse_time(std::string_view text) {
  constexpr std::string_view form = "dddd-dd-dd dd:dd:dd";
  if (text.size() < form.size()) return std::nullopt;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == 'd' ? !is_digit : text[i] != form[i]) return std::nullopt;
  }
  const auto part = [text](std::size_t first, std::size_t count) {
    return static_cast<int>(*digits(text.substr(first, count)));
  };
  const std::chrono::year_month_day date{std::chrono::year{part(0, 4)},
                                         std::chrono::month{static_cast<unsigned>(part(5, 2))},
                                         std::chrono::day{static_cast<unsigned>(part(8, 2))}};
  const int hour = part(11, 2), minute = part(14, 2), second = part(17, 2);
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  std::int64_t fraction = 0;
  if (text.size() > form.size()) {
    std::string_view tail = text.substr(form.size());
    if (tail.front() != '.' || tail.size() > 8) return std::nullopt;
    tail.remove_prefix(1);
    const auto value = digits(tail);
    if (!value) return std::nullopt;
    fraction = *value;
    for (std::size_t i = tail.size(); i < 7; ++i) fraction *= 10;
  }
  const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
  return ((days * 24 + hour) * 60 + minute) * 60 * ticks_per_second + second * ticks_per_second +
         fraction;
}

std::int64_t tokens(std::string_view text, std::string_view column, const Place& place) {
  const auto value = digits(text);
  if (!value || *value < 1 || *value > max_tokens)
    place.fail(
        fmt::format("{} is '{}', must be a whole number from 1 to {}", column, text, max_tokens));
  return *value;
}

void drop_carriage_return(std::string& line) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
}

}  // namespace

Trace read_trace(std::istream& input, const std::string& name) {
  Trace trace{.name = name, .requests = {}};
  std::string line;
  std::vector<std::string_view> fields;
  Place place{name, 1};
  if (!std::getline(input, line)) place.fail("the file is empty, a header line is needed");
  drop_carriage_return(line);
  split(line, fields);
  std::array<std::size_t, columns.size()> at{};
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto found = std::find(fields.begin(), fields.end(), columns[i]);
    if (found == fields.end()) place.fail(fmt::format("column {} is missing", columns[i]));
    at[i] = static_cast<std::size_t>(found - fields.begin());
  }
  const std::size_t width = fields.size();
  std::int64_t first = 0;
  while (std::getline(input, line)) {
    ++place.line;
    drop_carriage_return(line);
    split(line, fields);
    if (fields.size() != width)
      place.fail(fmt::format("the line has {} columns, the header has {}", fields.size(), width));
    const auto time = parse_time(fields[at[0]]);
    if (!time)
      place.fail(fmt::format("{} is '{}', must read like 2023-11-16 18:15:46.6805900", columns[0],
                             fields[at[0]]));
    if (trace.requests.empty()) first = *time;
    const Request request{.arrival = *time - first,
                          .context = tokens(fields[at[1]], columns[1], place),
                          .generated = tokens(fields[at[2]], columns[2], place)};
    if (request.arrival < (trace.requests.empty() ? 0 : trace.requests.back().arrival))
      place.fail(fmt::format("{} {} is before that of the line above; times must be sorted",
                             columns[0], fields[at[0]]));
    trace.requests.push_back(request);
  }
  if (input.bad()) place.fail("reading failed");
  if (trace.requests.empty()) place.fail("no request follows the header line");
  return trace;
}

Trace read_trace(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw BadInput(fmt::format("--trace: {} is a directory", path));
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw BadInput(
        fmt::format("--trace: cannot open {}: {}", path, std::generic_category().message(errno)));
  return read_trace(file, path);
}

std::uint64_t Trace::fingerprint() const {
  dpgather::Hash hash;
  for (const Request& request : requests)
    hash.add(request.arrival).add(request.context).add(request.generated);
  return hash.value();
}

}  // namespace serve_trace
