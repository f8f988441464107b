#include "synthetic.hpp"

#include <cmath>

#include <doctest/doctest.h>

using namespace serve_trace;

TEST_CASE("synthetic traffic is the same for a seed and another for another") {
  const Trace a = synthetic_trace({.seed = 3, .requests = 100});
  const Trace b = synthetic_trace({.seed = 3, .requests = 100});
  const Trace c = synthetic_trace({.seed = 4, .requests = 100});
  CHECK(a.fingerprint() == b.fingerprint());
  CHECK(a.fingerprint() != c.fingerprint());
}

TEST_CASE("synthetic traffic arrives at its rate and has its lengths") {
  const SyntheticTraffic asked{.seed = 11, .requests = 20000, .rate = 8};
  const Trace trace = synthetic_trace(asked);
  REQUIRE(trace.requests.size() == 20000);
  const double seconds = static_cast<double>(trace.span()) / static_cast<double>(ticks_per_second);
  CHECK(20000 / seconds == doctest::Approx(8).epsilon(0.03));
  double context = 0, generated = 0, gaps_squared = 0;
  std::int64_t last = 0;
  for (const Request& request : trace.requests) {
    REQUIRE(request.arrival >= last);
    REQUIRE(request.context >= 1);
    REQUIRE(request.context <= asked.max_context);
    REQUIRE(request.generated >= 1);
    REQUIRE(request.generated <= asked.max_generated);
    const double gap =
        static_cast<double>(request.arrival - last) / static_cast<double>(ticks_per_second);
    gaps_squared += gap * gap;
    last = request.arrival;
    context += std::log(static_cast<double>(request.context));
    generated += std::log(static_cast<double>(request.generated));
  }
  CHECK(context / 20000 == doctest::Approx(asked.context_mean).epsilon(0.01));
  CHECK(generated / 20000 == doctest::Approx(asked.generated_mean).epsilon(0.01));
  // Of an exponential distribution: twice the square of the mean.
  CHECK(gaps_squared / 20000 == doctest::Approx(2.0 / 64).epsilon(0.06));
}
