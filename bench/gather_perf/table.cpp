#include "table.hpp"

#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace gather_perf {

namespace {

/// With the way.
std::string call_of(const Result& result) {
  return fmt::format("{}{}", result.of.what == What::back ? "back:" : "",
                     call_name(result.of.what, result.mode));
}

std::string times(const Result* result) {
  if (result == nullptr) return fmt::format("{:>10} {:>7} {:>7} {:>6}", "-", "-", "-", "-");
  const std::string wrong = result->wrong < 0 ? "N/A" : fmt::format("{}", result->wrong);
  return fmt::format("{:>10.2f} {:>7.2f} {:>7.2f} {:>6}", result->median * 1e6,
                     result->alg_bandwidth(), result->bus_bandwidth(), wrong);
}

}  // namespace

std::string heading() {
  return fmt::format(
      "#{:>71}{:>26}{:>35}\n"
      "#{:>11} {:>12} {:>9} {:>8} {:>25} {:>8} {:>10} {:>7} {:>7} {:>6} {:>10} {:>7} {:>7} {:>6} "
      "{:>12} {:>6}\n"
      "#{:>11} {:>12} {:>9} {:>8} {:>25} {:>8} {:>10} {:>7} {:>7} {:>6} {:>10} {:>7} {:>7} {:>6} "
      "{:>12} {:>6}\n",
      "", "out-of-place", "in-place", "size", "count", "type", "comm", "call", "counts", "time",
      "algbw", "busbw", "#wrong", "time", "algbw", "busbw", "#wrong", "wire", "eff", "(B)",
      "(elements)", "", "", "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)", "(GB/s)", "",
      "(B a rank)", "");
}

std::string line(const Result* out_of_place, const Result* in_place) {
  const Result& any = out_of_place != nullptr ? *out_of_place : *in_place;
  const std::string wire = any.wire_bytes > 0 ? fmt::format("{:.0f}", any.wire_bytes) : "-";
  const std::string efficiency = any.wire_bytes > 0 ? fmt::format("{:.3f}", any.efficiency()) : "-";
  return fmt::format(" {:>11} {:>12} {:>9} {:>8} {:>25} {:>8} {} {} {:>12} {:>6}\n", any.of.bytes(),
                     any.of.elements(), name(any.of.dtype), name(any.comm), call_of(any),
                     name(any.of.spread), times(out_of_place), times(in_place), wire, efficiency);
}

std::string footing(const std::vector<Result>& results) {
  std::int64_t wrong = 0;
  std::map<std::string, std::pair<double, int>> bandwidths;
  for (const Result& result : results) {
    if (result.wrong > 0) wrong += result.wrong;
    auto& [sum, number] = bandwidths[fmt::format("{} {}", name(result.comm), call_of(result))];
    sum += result.bus_bandwidth();
    ++number;
  }
  std::string text =
      fmt::format("# Out of bounds values : {} {}\n", wrong, wrong == 0 ? "OK" : "FAILED");
  for (const auto& [who, bandwidth] : bandwidths)
    text += fmt::format("# Avg bus bandwidth    : {:<35} {:.4f}\n", who,
                        bandwidth.first / bandwidth.second);
  return text;
}

std::string to_json(const std::vector<Result>& results, const std::string& settings) {
  using Json = nlohmann::ordered_json;
  std::string list;  // a line for each
  for (const Result& result : results) {
    Json json = {{"comm", name(result.comm)},
                 {"what", name(result.of.what)},
                 {"counts", name(result.of.spread)},
                 {"ranks", result.of.ranks},
                 {"hosts", result.of.hosts},
                 {"rows", result.of.rows},
                 {"hidden", result.of.width},
                 {"bytes", result.of.bytes()},
                 {"wire_bytes", result.wire_bytes},
                 {"dtype", name(result.of.dtype)},
                 {"in_place", result.of.in_place},
                 {"iterations", result.iterations},
                 {"time_us", result.median * 1e6},
                 {"min_us", result.least * 1e6},
                 {"wrong", result.wrong}};
    if (is_of_gather(result.of.what)) json["mode"] = name(result.mode);
    list += (list.empty() ? "\n" : ",\n") + json.dump();
  }
  return fmt::format("{{\"settings\": {},\n\"results\": [{}\n]}}\n", Json(settings).dump(), list);
}

}  // namespace gather_perf
