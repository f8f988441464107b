#include "histogram_file.hpp"

#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace tune_sizes {
namespace {

using Json = nlohmann::ordered_json;
using dpgather::LoadEntry;
using dpgather::LoadHistogram;

constexpr const char* format_name = "dpgather load histogram 1";

struct File {
  const std::string& path;

  [[noreturn]] void fail(const std::string& what) const {
    throw BadInput(fmt::format("--histogram: {}: {}", path, what));
  }
  [[nodiscard]] std::int64_t number(const Json& value, const std::string& what, std::int64_t low,
                                    std::int64_t high) const {
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() &&
         value.get<std::uint64_t>() > static_cast<std::uint64_t>(high)))
      fail(fmt::format("{} is {}, must be a whole number from {} to {}", what, value.dump(), low,
                       high));
    const auto number = value.get<std::int64_t>();
    if (number < low || number > high)
      fail(fmt::format("{} is {}, must be a whole number from {} to {}", what, number, low, high));
    return number;
  }
  [[nodiscard]] std::int64_t member(const Json& json, const char* name, std::int64_t low,
                                    std::int64_t high) const {
    if (!json.contains(name)) fail(fmt::format("{} is missing", name));
    return number(json[name], name, low, high);
  }
};

Json parse(const File& file) {
  errno = 0;
  std::ifstream input(file.path);
  if (!input) file.fail(std::generic_category().message(errno));
  Json json = Json::parse(input, nullptr, false);
  if (json.is_discarded()) file.fail("is no JSON");
  if (!json.is_object() || !json.contains("format") || json["format"] != format_name)
    file.fail(fmt::format("is no histogram, \"format\" must be \"{}\"", format_name));
  return json;
}

std::vector<LoadEntry> entries_of(const File& file, const Json& json) {
  if (!json.contains("entries") || !json["entries"].is_array())
    file.fail("entries is missing, a list of [longest, fullest, weight]");
  std::vector<LoadEntry> entries;
  for (const Json& item : json["entries"]) {
    const std::string what = fmt::format("entry {}", entries.size());
    if (!item.is_array() || item.size() != 3)
      file.fail(what + " must be [longest, fullest, weight]");
    entries.push_back({{file.number(item[0], what + " longest", 1, dpgather::max_rows),
                        file.number(item[1], what + " fullest", 1, dpgather::max_rows)},
                       file.number(item[2], what + " weight", 1, LoadHistogram::most_weight)});
  }
  return entries;
}

}  // namespace

Load read_histogram(const std::string& path) {
  const File file{path};
  const Json json = parse(file);
  constexpr std::int64_t most_ranks = 1 << 20;
  const auto ranks = static_cast<int>(file.member(json, "ranks", 1, most_ranks));
  const auto attn_tp = static_cast<int>(file.member(json, "attn_tp", 1, most_ranks));
  const auto percent = static_cast<int>(file.member(json, "attention_percent", 0, 1000));
  const std::int64_t largest = file.member(json, "largest", 1, dpgather::max_rows / ranks);
  const std::int64_t capacity = file.member(json, "capacity", 1, LoadHistogram::most_entries);
  const dpgather::HistogramOptions options{.cost = {.ranks = ranks, .attention_percent = percent},
                                           .largest = {largest, ranks * largest},
                                           .capacity = capacity};
  return {.name = path,
          .ranks = ranks,
          .attn_tp = attn_tp,
          .largest = largest,
          .histogram = LoadHistogram(options, entries_of(file, json))};
}

void write_histogram(const std::string& path, const Load& load) {
  const dpgather::HistogramOptions& options = load.histogram.options();
  Json entries = Json::array();
  for (const LoadEntry& entry : load.histogram.entries())
    entries.push_back({entry.step.local, entry.step.global, entry.weight});
  const Json json = {{"format", format_name},
                     {"ranks", load.ranks},
                     {"attn_tp", load.attn_tp},
                     {"largest", load.largest},
                     {"attention_percent", options.cost.attention_percent},
                     {"capacity", options.capacity},
                     {"weight_of_a_step", LoadEntry::one_step},
                     {"entries", std::move(entries)}};
  std::ofstream file(path);
  file << json.dump() << '\n';
  file.close();
  if (!file) throw BadInput(fmt::format("--save-histogram: cannot write {}", path));
}

}  // namespace tune_sizes
