// A two-layer feed-forward network, whole and as the tensor-parallel shard of one rank.
#pragma once

#include <cstdint>

#include <Eigen/Core>

#include <dpgather/core/rows.hpp>

namespace serve_trace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// relu(x * in) * out with weights -1, 0 and 1; the inner dimension F is 2 * H.
struct FfnWeights {
  Matrix in;   ///< [H, F]
  Matrix out;  ///< [F, H]

  /// The same on every rank of every machine for one seed.
  FfnWeights(std::int64_t hidden, std::uint64_t seed);
};

/// Columns of `in` and the matching rows of `out` that one of `world` ranks holds. F need not be a
/// multiple of `world`; a rank may hold nothing.
class FfnShard {
 public:
  /// `max_rows` is the most rows that `run` will be given.
  FfnShard(const FfnWeights& weights, int rank, int world, std::int64_t max_rows);

  /// partial[g, :] = relu(all[g, :] * in) * out over this shard; both [global_len, H] contiguous,
  /// no aliasing. The sum over all ranks is the network's output.
  void run(dpgather::Rows<const float> all, dpgather::Rows<float> partial);

 private:
  Matrix in_, out_, inner_;
};

}  // namespace serve_trace
