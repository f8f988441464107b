#include "ffn.hpp"

#include <random>

namespace serve_trace {

FfnWeights::FfnWeights(std::int64_t hidden, std::uint64_t seed)
    : in(hidden, 2 * hidden), out(2 * hidden, hidden) {
  std::mt19937_64 engine(seed);
  for (Matrix* matrix : {&in, &out})
    for (float& weight : matrix->reshaped())
      weight = static_cast<float>(static_cast<int>(engine() % 3) - 1);
}

FfnShard::FfnShard(const FfnWeights& weights, int rank, int world, std::int64_t max_rows) {
  const std::int64_t inner = weights.in.cols();
  const std::int64_t first = inner * rank / world;
  const std::int64_t mine = inner * (rank + 1) / world - first;
  in_ = weights.in.middleCols(first, mine);
  out_ = weights.out.middleRows(first, mine);
  inner_.resize(max_rows, mine);
}

void FfnShard::run(dpgather::Rows<const float> all, dpgather::Rows<float> partial) {
  if (all.empty()) return;
  const Eigen::Map<const Matrix> x(all.data(), all.rows(), all.width());
  Eigen::Map<Matrix> y(partial.data(), partial.rows(), partial.width());
  if (in_.cols() == 0) {
    y.setZero();
    return;
  }
  auto inner = inner_.topRows(all.rows());
  inner.noalias() = x * in_;
  inner = inner.cwiseMax(0.0f);
  y.noalias() = inner * out_;
}

}  // namespace serve_trace
