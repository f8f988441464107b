// The figures of docs/tune_sizes.md, from the published trace.
#include <doctest/doctest.h>

#include "conversation.hpp"
#include "tune_sizes/load.hpp"
#include "tune_sizes/options.hpp"
#include "tune_sizes/result.hpp"

using namespace tune_sizes;

namespace {

Options options_of(int ranks) {
  Options options;
  options.traffic.trace = serve_trace::conversation().name;
  options.traffic.ranks = ranks;
  options.traffic.speedup = ranks;
  return options;
}

struct Expected {
  double ffn, attention, default_sizes;
};

void check(const Options& options, const Expected& expected) {
  const Load load = read_load(options);
  const Result result = tune(options, load);
  CAPTURE(options.traffic.ranks);
  CAPTURE(options.train_share);
  CHECK(result.tuned.shapes.size() <= 36);
  CHECK(result.own.eager == 0);
  CHECK(result.own.ffn() == doctest::Approx(expected.ffn).epsilon(0.0005));
  CHECK(result.own.attention() == doctest::Approx(expected.attention).epsilon(0.0005));
  CHECK(result.defaults.ffn() == doctest::Approx(expected.default_sizes).epsilon(0.0005));
  CHECK(result.tuned.cost <= 1.001 * result.tuned.lower_bound);
}

}  // namespace

TEST_CASE("36 pairs for all decode steps") {
  check(options_of(8), {1.017, 1.199, 1.280});
  check(options_of(32), {1.014, 1.259, 1.354});
}

TEST_CASE("36 pairs tuned on the first third, spread by 20 %, and judged on the rest") {
  for (const int ranks : {8, 32}) {
    Options options = options_of(ranks);
    options.train_share = 1.0 / 3;
    options.spread = 20;
    check(options, ranks == 8 ? Expected{1.026, 1.210, 1.292} : Expected{1.026, 1.264, 1.377});
  }
}
