#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "options.hpp"

namespace step_cost {

void Report::add(const std::string& name, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  lines.push_back({name, seconds[seconds.size() / 2], seconds.front(), seconds.back()});
}

Report::Line Report::line(const std::string& name) const {
  for (const Line& one : lines)
    if (one.name == name) return one;
  return {};
}

double Report::limit() const {
  return line(copies_and_barrier).median + line(a_barrier).median;
}

std::string Report::table() const {
  std::string text = fmt::format(
      "{} ranks, H {} bf16, {} steps {}, {}; measured in {:.2f} s\n{:<22} {:>12} {:>9} {:>18}\n",
      ranks, hidden, steps, of_trace ? "of a trace" : "made up",
      rewritten ? "rows written before each" : "rows not written anew", measured_in, "",
      "us per step", "spread", "by copies+barriers");
  for (const Line& one : lines)
    text += fmt::format("{:<22} {:>12.1f} {:>7.0f} % {:>18.2f}\n", one.name, one.median * 1e6,
                        (one.most - one.least) / one.median * 100, one.median / limit());
  text += fmt::format("Auto<MeasuredRule>: least_time {}, within_margin {}\n", least_time,
                      within_margin);
  return text;
}

std::string Report::json() const {
  nlohmann::ordered_json all = {{"ranks", ranks},           {"hidden", hidden},
                                {"steps", steps},           {"of_trace", of_trace},
                                {"rewritten", rewritten},   {"measured_s", measured_in},
                                {"least_time", least_time}, {"within_margin", within_margin}};
  for (const Line& one : lines)
    all["us_per_step"][one.name] = {{"median", one.median * 1e6},
                                    {"least", one.least * 1e6},
                                    {"most", one.most * 1e6},
                                    {"by_limit", one.median / limit()}};
  return all.dump(2) + "\n";
}

void publish(const Report& report, const std::string& path) {
  std::fputs(report.table().c_str(), stdout);
  if (path.empty()) return;
  std::ofstream file(path);
  file << report.json();
  if (!file.flush()) throw std::runtime_error(fmt::format("cannot write {}", path));
}

}  // namespace step_cost
