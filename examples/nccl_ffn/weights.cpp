#include "weights.hpp"

#include <cstddef>
#include <cstdint>

#include "numbers.hpp"

namespace nccl_ffn {

Shard make_shard(const Options& options, int layer, int rank, int ranks) {
  const auto seed = static_cast<std::uint64_t>(options.seed);
  const std::int64_t hidden = options.hidden, columns = options.inner / ranks;
  const std::int64_t first = rank * columns;
  const auto size = static_cast<std::size_t>(hidden * columns);
  Shard shard{std::vector<float>(size), std::vector<float>(size)};
  for (std::int64_t f = 0; f < columns; ++f)
    for (int k = 0; k < inner_terms; ++k) {
      const Term one = term(seed, layer, Matrix::in, first + f, k, hidden);
      shard.in[static_cast<std::size_t>(one.from * columns + f)] += static_cast<float>(one.weight);
    }
  for (std::int64_t j = 0; j < hidden; ++j)
    for (int k = 0; k < outer_terms; ++k) {
      const Term one = term(seed, layer, Matrix::out, j, k, options.inner);
      if (one.from < first || one.from >= first + columns) continue;
      shard.out[static_cast<std::size_t>((one.from - first) * hidden + j)] +=
          static_cast<float>(one.weight);
    }
  return shard;
}

}  // namespace nccl_ffn
