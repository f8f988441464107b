// Cost tables as JSON files. Needs nlohmann json; the umbrella does not reach it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <dpgather/core/error.hpp>
#include <dpgather/exchange/cost_setup.hpp>
#include <dpgather/plan/cost_table.hpp>

namespace dpgather {

inline constexpr int cost_file_version = 1;

namespace detail {

using Json = nlohmann::ordered_json;

inline Json setup_to_json(const CostSetup& setup) {
  return {{"dp", setup.layout.dp},
          {"attn_tp", setup.layout.attn_tp},
          {"group_dp", setup.layout.group_dp()},
          {"hidden", setup.hidden},
          {"dtype", setup.dtype},
          {"hosts", setup.hosts},
          {"peers_in_reach", setup.peers_in_reach},
          {"communicator", setup.communicator},
          {"machine", setup.machine}};
}
inline Json curve_to_json(const CostCurve& curve) {
  Json json{{"latency", curve.latency}, {"seconds_per_byte", curve.seconds_per_byte}};
  if (curve.after)
    json["break"] = {{"bytes", curve.after->bytes},
                     {"seconds", curve.after->seconds},
                     {"seconds_per_byte", curve.after->seconds_per_byte}};
  return json;
}

/// A value of a file, that knows where it stands in it for errors.
class CostNode {
 public:
  CostNode(const Json& json, std::string path, const ErrorContext& where)
      : json_(json), path_(std::move(path)), where_(where) {
    require(json.is_object(), where, path_, " is ", json.dump(), ", must be an object");
  }
  [[nodiscard]] bool has(const std::string& key) const { return json_.contains(key); }
  [[nodiscard]] CostNode at(const std::string& key) const {
    return {value(key), path_ + "." + key, where_};
  }
  [[nodiscard]] const Json& value(const std::string& key) const {
    require(has(key), where_, path_, " has no ", key);
    return json_[key];
  }
  [[nodiscard]] double number(const std::string& key) const {
    const Json& json = value(key);
    require(json.is_number(), where_, path_, ".", key, " is ", json.dump(), ", must be a number");
    const double number = json.get<double>();
    check_cost(number, path_ + "." + key, where_);
    return number;
  }
  [[nodiscard]] std::int64_t whole(const std::string& key, std::int64_t least,
                                   std::int64_t most) const {
    const Json& json = value(key);
    const bool fits = json.is_number_integer() && json <= most && json >= least;
    require(fits, where_, path_, ".", key, " is ", json.dump(), ", must be a whole number of ",
            least, " to ", most);
    return json.get<std::int64_t>();
  }
  [[nodiscard]] const Json& json() const { return json_; }

 private:
  const Json& json_;
  std::string path_;
  ErrorContext where_;
};

inline CostCurve curve_from(const CostNode& node) {
  CostCurve curve{node.number("latency"), node.number("seconds_per_byte")};
  if (!node.has("break")) return curve;
  const CostNode after = node.at("break");
  curve.after = CostCurve::Break{after.number("bytes"), after.number("seconds"),
                                 after.number("seconds_per_byte")};
  return curve;
}

}  // namespace detail

[[nodiscard]] inline std::string costs_to_json(const CostTable& table, const CostSetup& setup) {
  table.check();
  detail::Json json{{"format", "dpgather costs"}, {"version", cost_file_version}};
  json["setup"] = detail::setup_to_json(setup);
  json["row_bytes"] = table.row_bytes;
  json["group_dp"] = table.group_dp;
  json["seconds_per_row"] = table.seconds_per_row;
  for (std::size_t i = 0; i < transport_count; ++i)
    if (const auto& cost = table.costs[i])
      json["transports"][std::string(name(static_cast<Transport>(i)))] = {
          {"even", detail::curve_to_json(cost->even)},
          {"one_hot", detail::curve_to_json(cost->one_hot)}};
  json["fingerprint"] = table.fingerprint();
  return json.dump(2) + "\n";
}

/// Throws InvalidArgument, naming the value and what it must be, if `text` is damaged, of another
/// version or of another set-up than `setup`. "fingerprint" is compared where it is given: a table
/// written by hand has none.
[[nodiscard]] inline CostTable costs_from_json(std::string_view text, const CostSetup& setup) {
  const ErrorContext where{.operation = "costs_from_json"};
  const detail::Json json = detail::Json::parse(text, nullptr, false);
  require(!json.is_discarded(), where, "the text of ", text.size(),
          " bytes is no JSON: damaged, or cut off");
  const detail::CostNode root(json, "file", where);
  const auto same = [&where](const detail::Json& is, const detail::Json& must,
                             const std::string& what) {
    require(is == must, where, what, " is ", is.dump(), ", must be ", must.dump());
  };
  same(root.value("format"), "dpgather costs", "format");
  same(root.value("version"), cost_file_version, "version");
  const detail::CostNode of = root.at("setup");
  const detail::Json expected = detail::setup_to_json(setup);
  for (const auto& [key, must] : expected.items()) same(of.value(key), must, "setup." + key);

  constexpr std::int64_t most = std::int64_t{1} << 40;
  CostTable table{.row_bytes = root.whole("row_bytes", 1, most),
                  .group_dp = static_cast<int>(root.whole("group_dp", 0, 1 << 20)),
                  .seconds_per_row = root.number("seconds_per_row")};
  const detail::CostNode transports = root.at("transports");
  for (std::size_t i = 0; i < transport_count; ++i)
    if (const std::string key(name(static_cast<Transport>(i))); transports.has(key)) {
      const detail::CostNode cost = transports.at(key);
      table.costs[i] = {detail::curve_from(cost.at("even")),
                        detail::curve_from(cost.at("one_hot"))};
    }
  for (const auto& [key, cost] : transports.json().items()) {
    bool known = false;
    for (std::size_t i = 0; i < transport_count; ++i)
      known = known || key == name(static_cast<Transport>(i));
    require(known, where, "transports has ", key, ", which is no transport");
  }
  table.check();
  if (root.has("fingerprint"))
    same(table.fingerprint(), root.value("fingerprint"), "the fingerprint of the numbers");
  return table;
}

/// Whoever reads `path` meanwhile finds the old file or the new one, whole. Throws InvalidArgument
/// if it cannot be written; nothing is left behind then. One rank is enough.
inline void save_costs(const CostTable& table, const CostSetup& setup,
                       const std::filesystem::path& path) {
  static std::atomic<unsigned> saved{0};
  const ErrorContext where{.operation = "save_costs"};
  const std::string text = costs_to_json(table, setup);
  std::filesystem::path beside = path;
  beside += concat(".", ::getpid(), ".", saved++);
  std::ofstream file(beside, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  bool done = file.good();
  if (done) std::filesystem::rename(beside, path, error), done = !error;
  if (!done) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
  }
  require(done, where, path.string(), " cannot be written");
}

/// As `costs_from_json`; errors name the file. Every rank loads it for itself; that all have the
/// same is for the agreement to find.
[[nodiscard]] inline CostTable load_costs(const std::filesystem::path& path,
                                          const CostSetup& setup) {
  const ErrorContext where{.operation = "load_costs"};
  std::ifstream file(path, std::ios::binary);
  require(file.good(), where, path.string(), " cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  try {
    return costs_from_json(text, setup);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(where, concat(path.string(), ": ", error.detail()));
  }
}

}  // namespace dpgather
