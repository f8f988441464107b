// What one rank alone, holding all weights, computes for a row.
#pragma once

#include <cstdint>
#include <vector>

#include "numbers.hpp"
#include "options.hpp"

namespace nccl_ffn {

class Reference {
 public:
  explicit Reference(const Options& options);

  /// The row of a request after all layers, `[H]`; valid until the next call.
  const std::vector<float>& row(std::int32_t id, std::int64_t position);

 private:
  struct Layer {
    std::vector<Term> in;   // [F, inner_terms]
    std::vector<Term> out;  // [H, outer_terms]
  };
  std::vector<Layer> layers_;
  std::vector<float> row_, inner_;
};

}  // namespace nccl_ffn
