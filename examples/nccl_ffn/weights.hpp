// The dense matrices that cuBLAS multiplies by.
#pragma once

#include <vector>

#include "options.hpp"

namespace nccl_ffn {

/// One rank's part of one layer, row by row: columns of the first matrix, rows of the second.
struct Shard {
  std::vector<float> in;   ///< [H, F / ranks]
  std::vector<float> out;  ///< [F / ranks, H]
};
[[nodiscard]] Shard make_shard(const Options& options, int layer, int rank, int ranks);

}  // namespace nccl_ffn
