#include "case.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace gather_perf {

namespace {

template <std::size_t N, class Enum>
std::string_view pick(const std::string_view (&names)[N], Enum value) {
  return names[static_cast<std::size_t>(value)];
}

/// `total` in proportion to `weights`, exactly: what rounding down leaves goes to the first ranks
/// that have a weight.
std::vector<std::int64_t> in_proportion(std::int64_t total,
                                        const std::vector<std::int64_t>& weights) {
  const std::int64_t sum = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
  std::vector<std::int64_t> rows(weights.size(), 0);
  if (sum == 0) return rows;
  std::int64_t left = total;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = total * weights[i] / sum;
    left -= rows[i];
  }
  for (std::size_t i = 0; left > 0; i = (i + 1) % rows.size())
    if (weights[i] > 0) ++rows[i], --left;
  return rows;
}

}  // namespace

std::string_view name(What what) {
  static constexpr std::string_view names[] = {"barrier",    "all_gather",   "reduce_scatter",
                                               "all_reduce", "all_gather_v", "reduce_scatter_v",
                                               "gather",     "back"};
  return pick(names, what);
}
std::string_view name(Comm comm) {
  static constexpr std::string_view names[] = {"thread", "mpi",  "open_mpi",   "gloo",
                                               "copy",   "nccl", "thread_gpu", "copy_gpu"};
  return pick(names, comm);
}
std::string_view name(Mode mode) {
  static constexpr std::string_view names[] = {"max_len",
                                               "sum_len_all_reduce",
                                               "sum_len_all_gather_v",
                                               "sum_len_peer_store",
                                               "sum_len_hierarchical",
                                               "auto"};
  return pick(names, mode);
}
std::string_view name(Spread spread) {
  static constexpr std::string_view names[] = {"even", "linear", "one_hot", "trace"};
  return pick(names, spread);
}

double bus_factor(What what, int ranks) {
  const double once = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  return what == What::all_reduce ? 2 * once : once;
}

std::int64_t Case::total_rows() const {
  return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
}
std::int64_t Case::most_rows() const {
  return rows.empty() ? 0 : *std::max_element(rows.begin(), rows.end());
}
std::int64_t Case::bytes() const {
  return what == What::barrier ? 0 : elements() * bytes_of(dtype);
}
std::vector<std::int64_t> Case::counts() const {
  std::vector<std::int64_t> result;
  for (const std::int64_t n : rows) result.push_back(n * width);
  return result;
}
std::vector<std::int64_t> Case::offsets() const {
  std::vector<std::int64_t> result(rows.size(), 0);
  for (std::size_t i = 1; i < rows.size(); ++i) result[i] = result[i - 1] + rows[i - 1] * width;
  return result;
}

std::vector<std::int64_t> spread_rows(Spread spread, std::int64_t total, int ranks,
                                      const std::vector<std::int64_t>& proportions) {
  const auto n = static_cast<std::size_t>(ranks);
  std::vector<std::int64_t> rows(n, 0);
  switch (spread) {
    case Spread::even:
      rows.assign(n, std::max<std::int64_t>(total / ranks, 1));
      break;
    case Spread::linear: {
      std::vector<std::int64_t> weights(n);
      std::iota(weights.begin(), weights.end(), 1);
      rows = in_proportion(total, weights);
      break;
    }
    case Spread::one_hot:
      rows[0] = total;
      break;
    case Spread::trace:
      rows = in_proportion(total, proportions);
      break;
  }
  return rows;
}

}  // namespace gather_perf
