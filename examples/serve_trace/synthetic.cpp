#include "synthetic.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

#include <fmt/format.h>

namespace serve_trace {
namespace {

// The distributions of <random> differ between standard libraries; its engines do not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  double exponential(double mean) { return -mean * std::log(uniform()); }
  std::int64_t log_normal(double mean, double deviation, std::int64_t limit) {
    const double length = std::exp(mean + deviation * normal());
    return std::clamp<std::int64_t>(std::llround(std::min(length, 1e9)), 1, limit);
  }

 private:
  /// In (0, 1].
  double uniform() { return (static_cast<double>(engine_() >> 11) + 1.0) * 0x1p-53; }
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }
  std::mt19937_64 engine_;
};

}  // namespace

Trace synthetic_trace(const SyntheticTraffic& traffic) {
  Trace trace{.name = fmt::format("synthetic traffic, seed {}", traffic.seed), .requests = {}};
  trace.requests.reserve(static_cast<std::size_t>(traffic.requests));
  Random random(traffic.seed);
  double seconds = 0;
  for (std::int64_t i = 0; i < traffic.requests; ++i) {
    if (i > 0) seconds += random.exponential(1.0 / traffic.rate);
    Request request;
    request.arrival = static_cast<std::int64_t>(seconds * static_cast<double>(ticks_per_second));
    request.context =
        random.log_normal(traffic.context_mean, traffic.context_deviation, traffic.max_context);
    request.generated = random.log_normal(traffic.generated_mean, traffic.generated_deviation,
                                          traffic.max_generated);
    trace.requests.push_back(request);
  }
  return trace;
}

Trace traffic(const Options& options) {
  if (!options.trace.empty()) return read_trace(options.trace);
  return synthetic_trace(
      {.seed = options.seed, .requests = options.requests, .rate = options.rate});
}

}  // namespace serve_trace
