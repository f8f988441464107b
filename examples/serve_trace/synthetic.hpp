// Made-up traffic for machines without a trace.
#pragma once

#include <cstdint>

#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

struct SyntheticTraffic {
  std::uint64_t seed = 1;
  std::int64_t requests = 2000;
  double rate = 5.5;  ///< requests a second
  // Of the natural logarithm of the lengths; the defaults are like those of chat traffic.
  double context_mean = 6.6, context_deviation = 1.0;
  double generated_mean = 5.0, generated_deviation = 0.85;
  std::int64_t max_context = 16384, max_generated = 1024;
};

/// Poisson arrivals, log-normal lengths. A seed gives the same traffic with every standard library.
[[nodiscard]] Trace synthetic_trace(const SyntheticTraffic& traffic);

/// The trace that `options` names, or synthetic traffic.
[[nodiscard]] Trace traffic(const Options& options);

}  // namespace serve_trace
