// The steps that are measured.
#pragma once

#include <cstdint>
#include <vector>

#include "options.hpp"

namespace step_cost {

using Sequence = std::vector<std::vector<std::int64_t>>;  ///< rows, [steps][ranks]

/// Of the trace's counts, or synthetic: half the steps decode, nearly even; a quarter decode with
/// idle ranks; a quarter have ranks that prefill. Throws BadInput.
[[nodiscard]] Sequence make_sequence(const Options& options);
[[nodiscard]] std::int64_t most_rows(const Sequence& steps);

}  // namespace step_cost
