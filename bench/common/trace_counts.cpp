#include "trace_counts.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <fstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "command_line/bad_input.hpp"

namespace bench {

using command_line::BadInput;

namespace {

constexpr std::int64_t max_rows = std::int64_t{1} << 20;

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  for (;;) {
    const auto comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return cells;
    line.remove_prefix(comma + 1);
  }
}

}  // namespace

std::vector<std::vector<std::int64_t>> read_trace_counts(const std::string& path, int ranks) {
  std::ifstream file(path);
  std::string line;
  if (!file) throw BadInput(fmt::format("cannot read {}", path));
  std::getline(file, line);          // an empty file is refused as its first line
  constexpr std::size_t before = 2;  // live, forward
  if (!line.starts_with("live,forward,0"))
    throw BadInput(fmt::format("{}: the first line is '{}', must be live,forward,0,1,...", path,
                               line.substr(0, 60)));
  const auto columns = cells_of(line).size() - before;
  if (columns != static_cast<std::size_t>(ranks))
    throw BadInput(
        fmt::format("{}: has counts of {} ranks, but {} are measured", path, columns, ranks));
  std::vector<std::vector<std::int64_t>> steps;
  for (int number = 2; std::getline(file, line); ++number) {
    const auto cells = cells_of(line);
    if (cells.size() != columns + before)
      throw BadInput(
          fmt::format("{}:{}: {} cells, must be {}", path, number, cells.size(), columns + before));
    std::vector<std::int64_t> rows;
    for (std::size_t i = before; i < cells.size(); ++i) {
      std::int64_t n = 0;
      const auto [stop, error] =
          std::from_chars(cells[i].data(), cells[i].data() + cells[i].size(), n);
      if (error != std::errc{} || stop != cells[i].data() + cells[i].size() || n < 0 ||
          n > max_rows)
        throw BadInput(fmt::format("{}:{}: '{}' is not a count from 0 to {}", path, number,
                                   cells[i], max_rows));
      rows.push_back(n);
    }
    if (std::any_of(rows.begin(), rows.end(), [](auto n) { return n > 0; }))
      steps.push_back(std::move(rows));
  }
  if (steps.empty()) throw BadInput(fmt::format("{}: has no step with rows", path));
  return steps;
}

}  // namespace bench
