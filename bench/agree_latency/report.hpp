// From the samples of several runs to medians, a table and JSON.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "measure.hpp"

namespace agree_latency {

/// In microseconds: of each rank's own times, and of the longest of each step, which ends when the last
/// rank has it.
struct Quantiles {
  double p50 = 0, p99 = 0, slowest_p50 = 0, slowest_p99 = 0;
};

/// The least of `values` that at least `share` of them do not exceed.
[[nodiscard]] inline double quantile(std::vector<double>& values, double share) {
  const auto below = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(below),
                   values.end());
  return values[below];
}
[[nodiscard]] inline Quantiles quantiles(const Samples& samples, std::size_t series, int steps) {
  std::vector<double> own = samples.all(series, steps);
  std::vector<double> slowest = samples.slowest(series, steps);
  const auto us = [](std::vector<double>& of, double share) { return quantile(of, share) / 1000; };
  return {us(own, 0.5), us(own, 0.99), us(slowest, 0.5), us(slowest, 0.99)};
}

/// One run.
struct Run {
  std::vector<Quantiles> barriers;
  Quantiles agreement;
  std::vector<Quantiles> wait, exposed;  // by work

  Run(const Samples& samples, const Plan& plan, std::size_t barrier_count) {
    for (std::size_t k = 0; k < barrier_count; ++k)
      barriers.push_back(quantiles(samples, k, plan.steps));
    agreement = quantiles(samples, barrier_count, plan.steps);
    for (std::size_t w = 0; w < plan.works.size(); ++w) {
      const std::size_t series = plan.wait_series(barrier_count, w);
      wait.push_back(quantiles(samples, series, plan.work_steps));
      exposed.push_back(quantiles(samples, series + 1, plan.work_steps));
    }
  }
  /// p50 of the agreement by that of the fastest barrier of this run.
  [[nodiscard]] double ratio(double Quantiles::*p50) const {
    double fastest = barriers[0].*p50;
    for (const Quantiles& barrier : barriers) fastest = std::min(fastest, barrier.*p50);
    return agreement.*p50 / fastest;
  }
};

/// What was measured of one control plane at one number of ranks.
struct Result {
  std::string control;
  int ranks = 0;
  std::string setting;  // of MPI, if any
  std::vector<std::string> barriers;
  Plan plan;
  std::vector<Run> runs;

  /// Medians over the runs, of each quantile by itself.
  template <class Get>
  [[nodiscard]] Quantiles median(const Get& get) const {
    Quantiles result;
    for (const auto which :
         {&Quantiles::p50, &Quantiles::p99, &Quantiles::slowest_p50, &Quantiles::slowest_p99}) {
      std::vector<double> of_runs;
      for (const Run& run : runs) of_runs.push_back(get(run).*which);
      result.*which = quantile(of_runs, 0.5);
    }
    return result;
  }
  [[nodiscard]] std::vector<double> ratios(double Quantiles::*p50) const {
    std::vector<double> all;
    for (const Run& run : runs) all.push_back(run.ratio(p50));
    std::sort(all.begin(), all.end());
    return all;
  }
};

inline void print(const Result& result, unsigned cores) {
  fmt::print("{}{}{}, {} ranks on {} cores{}; medians of {} runs of {} steps, microseconds\n",
             result.control, result.setting.empty() ? "" : ", ", result.setting, result.ranks,
             cores, static_cast<unsigned>(result.ranks) > cores ? " (more ranks than cores)" : "",
             result.runs.size(), result.plan.steps);
  fmt::print("  {:<28} {:>21} {:>22}\n", "", "slowest rank of a step", "each rank by itself");
  fmt::print("  {:<28} {:>10} {:>10}  {:>10} {:>10}\n", "", "p50", "p99", "p50", "p99");
  const auto line = [](const std::string& what, Quantiles of) {
    fmt::print("  {:<28} {:>10.2f} {:>10.2f}  {:>10.2f} {:>10.2f}\n", what, of.slowest_p50,
               of.slowest_p99, of.p50, of.p99);
  };
  for (std::size_t k = 0; k < result.barriers.size(); ++k)
    line("barrier: " + result.barriers[k],
         result.median([&](const Run& run) { return run.barriers[k]; }));
  line("agreement", result.median([](const Run& run) { return run.agreement; }));
  fmt::print("  {:<28}", "by the fastest barrier");
  for (const auto p50 : {&Quantiles::slowest_p50, &Quantiles::p50}) {
    const std::vector<double> ratios = result.ratios(p50);
    fmt::print(" {:>10.2f} {:>11}", ratios[ratios.size() / 2],
               fmt::format("{:.2f}-{:.2f}", ratios.front(), ratios.back()));
  }
  fmt::print("\n");
  for (std::size_t w = 0; w < result.plan.works.size(); ++w) {
    const Work& work = result.plan.works[w];
    const std::string of = fmt::format("{:g} us {}", work.us, work.uneven ? "uneven" : "even");
    line(of + ": exposed", result.median([&](const Run& run) { return run.exposed[w]; }));
    line(of + ": wait alone", result.median([&](const Run& run) { return run.wait[w]; }));
  }
}

inline nlohmann::json to_json(const Result& result, unsigned cores) {
  const auto pair = [](Quantiles of) {
    return nlohmann::json{{"p50_us", of.p50},
                          {"p99_us", of.p99},
                          {"slowest_p50_us", of.slowest_p50},
                          {"slowest_p99_us", of.slowest_p99}};
  };
  nlohmann::json json{{"control", result.control},  {"setting", result.setting},
                      {"ranks", result.ranks},      {"cores", cores},
                      {"steps", result.plan.steps}, {"work_steps", result.plan.work_steps}};
  for (const Run& run : result.runs) {
    nlohmann::json one{{"agreement", pair(run.agreement)},
                       {"ratio", run.ratio(&Quantiles::p50)},
                       {"slowest_ratio", run.ratio(&Quantiles::slowest_p50)}};
    for (std::size_t k = 0; k < result.barriers.size(); ++k)
      one["barriers"][result.barriers[k]] = pair(run.barriers[k]);
    one["work"] = nlohmann::json::array();
    for (std::size_t w = 0; w < result.plan.works.size(); ++w)
      one["work"].push_back({{"us", result.plan.works[w].us},
                             {"uneven", result.plan.works[w].uneven},
                             {"exposed", pair(run.exposed[w])},
                             {"wait", pair(run.wait[w])}});
    json["runs"].push_back(std::move(one));
  }
  return json;
}

}  // namespace agree_latency
