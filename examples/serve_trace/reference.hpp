// The check: what one rank alone, holding all weights, computes for its own rows.
#pragma once

#include <cstdint>

#include <dpgather/core/rows.hpp>

#include "ffn.hpp"
#include "replay.hpp"

namespace serve_trace {

class Reference {
 public:
  explicit Reference(const FfnWeights& weights) : weights_(&weights) {}

  /// Number of rows of `output` [rows, H] that differ in any bit from the plain computation of
  /// `work`; -0 counts as +0, which the order of a sum may decide. `decode_only`: no rank prefills
  /// in this step, so that attention was given one sequence length a row.
  [[nodiscard]] std::int64_t wrong_rows(const Work& work, std::int64_t step, int dp_rank,
                                        bool decode_only, dpgather::Rows<const float> output);

 private:
  const FfnWeights* weights_;
  Matrix input_, inner_, expected_;
};

}  // namespace serve_trace
