// Which process of a host takes which of the GPUs that each of them sees.
#pragma once

#include <array>
#include <vector>

namespace nccl_ffn {

using Uuid = std::array<char, 16>;  ///< of a GPU, the same in every process that sees it

/// `seen[p]`: what process p sees, in its own numbering. Gives the number that p knows its GPU by, -1
/// where none is left: as many processes as can be have one, no two the same. Where all see the
/// same, they take them in turn. The same for the same `seen`, so that each process may work it out.
[[nodiscard]] std::vector<int> choose_gpus(const std::vector<std::vector<Uuid>>& seen);

}  // namespace nccl_ffn
