// What every transport is predicted to take for given counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/cost_curve.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// One transport, out and back: where all ranks have equally many rows, and where one has them all.
struct TransportCost {
  CostCurve even, one_hot;

  /// `skew` is 0 for even counts and 1 for one-hot ones; between them time is interpolated.
  [[nodiscard]] double seconds(double bytes, double skew) const {
    const double least = even.seconds(bytes);
    return least + skew * (one_hot.seconds(bytes) - least);
  }
  friend bool operator==(const TransportCost&, const TransportCost&) = default;
};

/// Of one FFN group. A step's time depends on the rows that the FFN buffer then has, W * max by
/// MAX_LEN and sum by the others (as in SGLang's rule, #8280), on how uneven counts are, and on
/// what the FFN makes of those rows.
struct CostTable {
  std::int64_t row_bytes = 0;  ///< H * size of an element
  int group_dp = 0;            ///< W, DP ranks of one FFN group; 0: all that have counts
  double seconds_per_row = 0;  ///< of the FFN, for every row of its buffer, pads too
  std::array<std::optional<TransportCost>, transport_count> costs = {};

  [[nodiscard]] std::optional<TransportCost>& of(Transport transport) {
    return costs[static_cast<std::size_t>(transport)];
  }
  [[nodiscard]] const std::optional<TransportCost>& of(Transport transport) const {
    return costs[static_cast<std::size_t>(transport)];
  }

  /// Of a step with `counts` rows, those of one FFN group or of several, which work at a time: the
  /// slowest counts. `transport` must be known. Allocates nothing.
  [[nodiscard]] double seconds(Transport transport, Counts counts) const {
    const std::size_t ranks = group_dp == 0 || counts.empty() ? counts.size() : group_size(counts);
    double slowest = 0;
    for (std::size_t at = 0; at < counts.size(); at += ranks) {
      const double time = seconds_of_group(transport, counts.subspan(at, ranks));
      if (time > slowest) slowest = time;
    }
    return slowest;
  }
  /// Throws InvalidArgument, naming what is outside its limits.
  void check() const {
    const ErrorContext where{.operation = "CostTable"};
    require(row_bytes >= 1, where, "row_bytes is ", row_bytes, ", must be at least 1");
    require(group_dp >= 0, where, "group_dp is ", group_dp, ", must be 0 (all) or more");
    detail::check_cost(seconds_per_row, "seconds_per_row", where);
    for (std::size_t i = 0; i < transport_count; ++i) {
      if (!costs[i]) continue;
      const ErrorContext curve{.operation = name(static_cast<Transport>(i))};
      costs[i]->even.check(curve);
      costs[i]->one_hot.check(curve);
    }
    require(of(Transport::max_len) || of(Transport::sum_len_all_reduce), where,
            "neither max_len nor sum_len is known, and only those can be taken everywhere");
  }
  /// For the agreement: a rank with another table would choose otherwise.
  [[nodiscard]] std::uint64_t fingerprint() const {
    Hash hash;
    hash.add(row_bytes).add(group_dp).add(detail::bit_cast<std::uint64_t>(seconds_per_row));
    for (const auto& cost : costs) {
      hash.add(cost.has_value());
      if (!cost) continue;
      cost->even.add_to(hash);
      cost->one_hot.add_to(hash);
    }
    return hash.value();
  }
  friend bool operator==(const CostTable&, const CostTable&) = default;

 private:
  [[nodiscard]] std::size_t group_size(Counts counts) const {
    const auto ranks = static_cast<std::size_t>(group_dp);
    require(counts.size() % ranks == 0, {.operation = "CostTable"}, counts.size(),
            " counts given, the table is of FFN groups of ", group_dp, " DP ranks");
    return ranks;
  }
  [[nodiscard]] double seconds_of_group(Transport transport, Counts counts) const {
    const auto ranks = static_cast<double>(counts.size());
    const auto exist = static_cast<double>(sum(counts));
    const double padded = ranks * static_cast<double>(max(counts));
    const double rows = len_mode(transport) == LenMode::max_len ? padded : exist;
    const double skew =
        counts.size() < 2 || exist == 0 ? 0 : (padded - exist) / ((ranks - 1) * exist);
    return of(transport)->seconds(rows * static_cast<double>(row_bytes), skew) +
           rows * seconds_per_row;
  }
};

}  // namespace dpgather
