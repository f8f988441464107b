// From timed samples to a cost curve.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/plan/cost_curve.hpp>

namespace dpgather {

struct CostSample {
  double bytes = 0;
  double seconds = 0;
};

namespace detail {

/// at + slope * bytes
struct FittedLine {
  double at = 0, slope = 0;
};

/// Of (predicted / measured - 1)^2, summed.
template <class Predict>
[[nodiscard]] double relative_error(std::span<const CostSample> samples, const Predict& predict) {
  double error = 0;
  for (const CostSample& sample : samples) {
    const double off = predict(sample.bytes) / sample.seconds - 1;
    error += off * off;
  }
  return error;
}

/// The line of least relative error with a slope that is not negative, nor its start unless
/// `free_start`. It solves at * u + slope * v = 1 with u = 1 / seconds, v = bytes / seconds; where
/// that leaves the allowed quadrant, the best is on its edge, since the error is convex.
[[nodiscard]] inline FittedLine fit_line(std::span<const CostSample> samples, bool free_start) {
  double uu = 0, uv = 0, vv = 0, u1 = 0, v1 = 0;
  for (const CostSample& sample : samples) {
    const double u = 1 / sample.seconds, v = sample.bytes / sample.seconds;
    uu += u * u, uv += u * v, vv += v * v, u1 += u, v1 += v;
  }
  constexpr double hardly_apart = 1e-12;  // sizes so close that a slope would be noise
  const double determinant = uu * vv - uv * uv;
  if (determinant > hardly_apart * uu * vv) {
    const FittedLine line{(u1 * vv - v1 * uv) / determinant, (v1 * uu - u1 * uv) / determinant};
    if (line.slope >= 0 && (free_start || line.at >= 0)) return line;
  }
  const FittedLine flat{u1 / uu, 0};
  if (free_start || vv == 0) return flat;
  const FittedLine steep{0, v1 / vv};
  const auto error = [samples](const FittedLine& line) {
    return relative_error(samples, [&](double bytes) { return line.at + line.slope * bytes; });
  };
  return error(steep) < error(flat) ? steep : flat;
}

/// Two lines, the first over `samples[0, split)`. They meet where they cross, if that is between
/// the samples on both sides, else halfway.
[[nodiscard]] inline CostCurve fit_two_lines(std::span<const CostSample> samples,
                                             std::size_t split) {
  const FittedLine first = fit_line(samples.first(split), false);
  const FittedLine second = fit_line(samples.subspan(split), true);
  const double low = samples[split - 1].bytes, high = samples[split].bytes;
  double at = (low + high) / 2;
  if (first.slope != second.slope) {
    const double cross = (first.at - second.at) / (second.slope - first.slope);
    if (cross > low && cross <= high) at = cross;
  }
  const double before = first.at + first.slope * at;
  return {first.at, first.slope,
          CostCurve::Break{at, std::max(before, second.at + second.slope * at), second.slope}};
}

}  // namespace detail

/// The curve of least relative error (so that small sizes count as much as large ones). A break is
/// taken only if at least three samples lie on either side of it, if one line misses by more than
/// 3 % (root mean square), and if two lines halve what it misses by; noise would break it
/// otherwise. Throws InvalidArgument without samples, or if one is negative or not finite. Times
/// below a nanosecond count as one.
[[nodiscard]] inline CostCurve fit_cost(std::span<const CostSample> measured) {
  const ErrorContext where{.operation = "fit_cost"};
  require(!measured.empty(), where, "no samples given, at least 1 is needed");
  std::vector<CostSample> samples(measured.begin(), measured.end());
  for (CostSample& sample : samples) {
    detail::check_cost(sample.bytes, "bytes of a sample", where);
    detail::check_cost(sample.seconds, "seconds of a sample", where);
    sample.seconds = std::max(sample.seconds, 1e-9);
  }
  std::sort(samples.begin(), samples.end(), [](const CostSample& a, const CostSample& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.seconds < b.seconds;
  });
  const auto missed = [&samples](const CostCurve& curve) {
    return detail::relative_error(samples, [&](double bytes) { return curve.seconds(bytes); });
  };
  constexpr std::size_t least = 3;
  constexpr double good_enough = 0.03, halved = 0.5;
  const detail::FittedLine line = detail::fit_line(samples, false);
  const CostCurve one{line.at, line.slope};
  const double missed_by_one = missed(one);
  if (missed_by_one <= good_enough * good_enough * static_cast<double>(samples.size())) return one;
  CostCurve best = one;
  double best_missed = missed_by_one * halved * halved;
  for (std::size_t split = least; split + least <= samples.size(); ++split) {
    if (samples[split - 1].bytes == samples[split].bytes) continue;
    const CostCurve two = detail::fit_two_lines(samples, split);
    if (const double missed_by_two = missed(two); missed_by_two < best_missed)
      best = two, best_missed = missed_by_two;
  }
  return best;
}

}  // namespace dpgather
