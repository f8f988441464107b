#include "reference.hpp"

#include <algorithm>
#include <cstddef>

namespace nccl_ffn {
namespace {

std::vector<Term> terms(const Options& options, int layer, Matrix matrix, std::int64_t outputs,
                        int each, std::int64_t inputs) {
  std::vector<Term> all;
  all.reserve(static_cast<std::size_t>(outputs * each));
  for (std::int64_t to = 0; to < outputs; ++to)
    for (int k = 0; k < each; ++k)
      all.push_back(term(static_cast<std::uint64_t>(options.seed), layer, matrix, to, k, inputs));
  return all;
}

/// `to[i]` is the sum of the terms of output i over `from`.
void multiply(const std::vector<Term>& matrix, const std::vector<float>& from,
              std::vector<float>& to) {
  const std::size_t each = matrix.size() / to.size();
  for (std::size_t i = 0; i < to.size(); ++i) {
    float sum = 0;
    for (std::size_t k = 0; k < each; ++k) {
      const Term& one = matrix[i * each + k];
      sum += static_cast<float>(one.weight) * from[static_cast<std::size_t>(one.from)];
    }
    to[i] = sum;
  }
}

}  // namespace

Reference::Reference(const Options& options)
    : row_(static_cast<std::size_t>(options.hidden)),
      inner_(static_cast<std::size_t>(options.inner)) {
  for (int layer = 0; layer < options.layers; ++layer)
    layers_.push_back(
        {terms(options, layer, Matrix::in, options.inner, inner_terms, options.hidden),
         terms(options, layer, Matrix::out, options.hidden, outer_terms, options.inner)});
}

const std::vector<float>& Reference::row(std::int32_t id, std::int64_t position) {
  for (std::size_t j = 0; j < row_.size(); ++j)
    row_[j] = static_cast<float>(embed(id, position, static_cast<std::int64_t>(j)));
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    if (layer > 0)
      for (std::size_t j = 0; j < row_.size(); ++j)
        row_[j] =
            static_cast<float>(mix(row_[j], static_cast<int>(layer), static_cast<std::int64_t>(j)));
    multiply(layers_[layer].in, row_, inner_);
    for (float& value : inner_) value = std::max(value, 0.0f);
    multiply(layers_[layer].out, inner_, row_);
  }
  return row_;
}

}  // namespace nccl_ffn
