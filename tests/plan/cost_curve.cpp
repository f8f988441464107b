// Curves of time over bytes: what fits find in samples whose truth is known.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/fit_cost.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

/// `truth` at `count` sizes, each twice the last, off by up to `noise` percent.
template <class Truth>
std::vector<CostSample> samples_of(const Truth& truth, int count, std::int64_t noise,
                                   support::Random& random) {
  std::vector<CostSample> samples;
  double bytes = 512;
  for (int i = 0; i < count; ++i, bytes *= 2) {
    const double off = 1 + static_cast<double>(random.between(-noise * 10, noise * 10)) / 1000;
    samples.push_back({bytes, truth(bytes) * off});
  }
  return samples;
}

/// Squared relative error of a straight line.
double missed(const std::vector<CostSample>& samples, double latency, double slope) {
  double error = 0;
  for (const CostSample& s : samples)
    error += std::pow((latency + slope * s.bytes) / s.seconds - 1, 2);
  return error;
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("exact samples of one line give that line") {
  const std::vector<CostSample> samples{{0, 5e-6}, {1000, 6e-6}, {4000, 9e-6}, {100000, 105e-6}};
  const CostCurve curve = fit_cost(samples);
  CHECK(curve.latency == doctest::Approx(5e-6));
  CHECK(curve.seconds_per_byte == doctest::Approx(1e-9));
  CHECK(!curve.after);
  CHECK(curve.seconds(2000) == doctest::Approx(7e-6));
}

TEST_CASE("a fit beats every line of a fine grid around it") {
  support::Random random(support::seed("fit against a grid", 31));
  for (int round = 0; round < 200; ++round) {
    const double latency = static_cast<double>(random.between(0, 50)) * 1e-6;
    const double slope = static_cast<double>(random.between(0, 50)) * 1e-11 + 1e-13;
    // Below six samples there is no break.
    const auto samples =
        samples_of([&](double bytes) { return latency + slope * bytes + 1e-9; },
                   static_cast<int>(random.between(1, 5)), random.between(0, 60), random);
    const CostCurve curve = fit_cost(samples);
    REQUIRE(!curve.after);
    const double found = missed(samples, curve.latency, curve.seconds_per_byte);
    for (int i = 0; i <= 60; ++i)
      for (int j = 0; j <= 60; ++j) {
        const double other = missed(samples, i * 1e-6, j * 1e-11);
        REQUIRE(found <= other + 1e-9);
      }
  }
}

TEST_CASE("a switch of protocols is found, and times between samples are near the truth") {
  support::Random random(support::seed("switch of protocols", 32));
  for (int round = 0; round < 300; ++round) {
    const double latency = static_cast<double>(random.between(2, 40)) * 1e-6;
    const double slow = static_cast<double>(random.between(50, 200)) * 1e-11;
    const double fast = slow / static_cast<double>(random.between(4, 20));
    const double at = 512 * std::pow(2.0, static_cast<double>(random.between(3, 7)) + 0.5);
    const double jump = static_cast<double>(random.between(0, 3)) * 20e-6;
    const auto truth = [&](double bytes) {
      return bytes < at ? latency + slow * bytes : latency + slow * at + jump + fast * (bytes - at);
    };
    const CostCurve curve = fit_cost(samples_of(truth, 12, 0, random));
    curve.check();
    for (double bytes = 512; bytes <= 512 * 2048; bytes *= 1.3) {
      // Where the switch lies between two samples is not known better.
      if (bytes > at / 1.5 && bytes < at * 1.5) continue;
      INFO("round ", round, ": ", bytes, " bytes, the switch is at ", at);
      CHECK(curve.seconds(bytes) == doctest::Approx(truth(bytes)).epsilon(0.04));
    }
  }
}

TEST_CASE("slower memory above a size is found although its line starts below zero") {
  support::Random random(1);
  const auto truth = [](double bytes) {
    return bytes < 40000 ? 4e-6 + 1e-11 * bytes : 4.4e-6 + 2e-10 * (bytes - 40000);
  };
  const CostCurve curve = fit_cost(samples_of(truth, 12, 0, random));
  REQUIRE(curve.after);
  for (double bytes = 512; bytes < 1e6; bytes *= 1.7)
    CHECK(curve.seconds(bytes) == doctest::Approx(truth(bytes)).epsilon(0.03));
}

TEST_CASE("noise alone seldom breaks a line") {
  support::Random random(support::seed("noise", 33));
  int broken = 0;
  for (int round = 0; round < 500; ++round) {
    const auto samples =
        samples_of([](double bytes) { return 1e-5 + 3e-10 * bytes; }, 8, 10, random);
    broken += fit_cost(samples).after.has_value() ? 1 : 0;
  }
  CHECK(broken <= 50);  // with eight samples two lines halve what one misses by now and then
}

TEST_CASE("a curve never falls and is nowhere negative, whatever was measured") {
  support::Random random(support::seed("any samples", 34));
  for (int round = 0; round < 2000; ++round) {
    std::vector<CostSample> samples(static_cast<std::size_t>(random.between(1, 14)));
    for (CostSample& s : samples)
      s = {static_cast<double>(random.between(0, 1 << 20)) * (random.chance(10) ? 0 : 1),
           static_cast<double>(random.between(0, 1000000)) * 1e-9};
    const CostCurve curve = fit_cost(samples);
    curve.check();
    double last = 0;
    for (double bytes = 0; bytes < (1 << 21); bytes += 9973) {
      REQUIRE(curve.seconds(bytes) >= last);
      last = curve.seconds(bytes);
    }
  }
}

TEST_CASE("samples and curves that cannot be are refused with the value and the limit") {
  CHECK(error_of([] { (void)fit_cost({}); }) ==
        "[fit_cost] no samples given, at least 1 is needed");
  const std::vector<CostSample> negative{{8, -2e-7}};
  CHECK(error_of([&] { (void)fit_cost(negative); }) ==
        "[fit_cost] seconds of a sample is -2e-07, must be a finite number that is not negative");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(error_of([&] {
          CostCurve{nan, 0}.check();
        }) == "[CostCurve] latency is nan, must be a finite number that is not negative");
  CHECK(error_of([] {
          CostCurve{2e-6, 0, CostCurve::Break{100, 1e-6, 0}}.check();
        }) ==
        "[CostCurve] the break's seconds is 1e-06, must not be below the 2e-06 that the first line "
        "comes to");
}
