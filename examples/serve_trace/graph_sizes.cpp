#include "graph_sizes.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace serve_trace {
namespace {

using dpgather::CaptureSizes;
using dpgather::ShapeCost;
using dpgather::ShapeSizes;
using dpgather::SizePair;
using Json = nlohmann::ordered_json;

/// What `tune_sizes --json` wrote.
struct File {
  const std::string& path;

  [[noreturn]] void fail(const std::string& what) const {
    throw BadInput(fmt::format("--shapes: {}: {}", path, what));
  }
  [[nodiscard]] std::int64_t member(const Json& json, const char* name, std::int64_t low,
                                    std::int64_t high) const {
    if (!json.is_object() || !json.contains(name)) fail(fmt::format("{} is missing", name));
    const Json& value = json[name];
    if (!value.is_number_integer() || value < low || value > high)
      fail(fmt::format("{} is {}, must be a whole number from {} to {}", name, value.dump(), low,
                       high));
    return value.get<std::int64_t>();
  }
  /// As this run has it, or its shapes would not fit the run.
  void must_be(const Json& json, const char* name, std::int64_t here) const {
    const std::int64_t there = member(json, name, 1, dpgather::max_rows);
    if (there != here) fail(fmt::format("was tuned for {} {}, this run has {}", name, there, here));
  }
};

ShapeSizes read_shapes(const Options& options, std::int64_t largest) {
  const File file{options.shapes};
  errno = 0;
  std::ifstream input(file.path);
  if (!input) file.fail(std::generic_category().message(errno));
  const Json json = Json::parse(input, nullptr, false);
  if (json.is_discarded()) file.fail("is no JSON");
  file.must_be(json, "ranks", options.ranks);
  file.must_be(json, "attn_tp", options.attn_tp);
  file.must_be(json, "largest", largest);
  const ShapeCost cost{
      .ranks = options.ranks,
      .attention_percent = static_cast<int>(file.member(json, "attention_percent", 0, 1000))};
  if (!json.contains("shapes") || !json["shapes"].is_array() || json["shapes"].empty())
    file.fail("shapes is missing, a list of {\"local\", \"global\"}");
  std::vector<SizePair> pairs;
  for (const Json& shape : json["shapes"]) {
    const SizePair pair{file.member(shape, "local", 1, largest),
                        file.member(shape, "global", 1, largest * options.ranks)};
    if (pair.global < pair.local)
      file.fail(fmt::format("global {} is below local {}", pair.global, pair.local));
    if (pair.local % options.attn_tp != 0 || pair.global % options.attn_tp != 0)
      file.fail(fmt::format("({}, {}) is no multiple of attn_tp {}", pair.local, pair.global,
                            options.attn_tp));
    pairs.push_back(pair);
  }
  return {std::move(pairs), cost};
}

}  // namespace

CaptureSizes capture_sizes(const Options& options) {
  const int attn_tp = options.attn_tp;
  const std::int64_t smallest =
      CaptureSizes::sglang(512 + 32 * attn_tp, 1, attn_tp).values().front();
  return CaptureSizes::sglang(std::max(options.max_running, smallest), 1, attn_tp);
}

GraphSizes graph_sizes(const Options& options) try {
  CaptureSizes defaults = capture_sizes(options);
  std::optional<ShapeSizes> shapes;
  if (!options.shapes.empty()) shapes = read_shapes(options, defaults.largest());
  if (!options.retune) return shapes ? GraphSizes(*shapes) : GraphSizes(std::move(defaults));
  dpgather::RetuneOptions retune;
  retune.goal.cost = shapes ? shapes->cost() : ShapeCost{.ranks = options.ranks};
  retune.goal.largest = defaults.largest();
  retune.goal.attn_tp = options.attn_tp;
  if (options.graphs > 0) retune.goal.max_shapes = static_cast<int>(options.graphs);
  retune.one_axis = options.mode == ModeChoice::max_len;
  if (!shapes) return GraphSizes(dpgather::RetunedSizes(retune));
  return GraphSizes(dpgather::RetunedSizes(retune, *shapes));
} catch (const dpgather::InvalidArgument& error) {
  throw BadInput(fmt::format("--retune: {}", error.detail()));
}

}  // namespace serve_trace
