// Rows of the ranks in the steps of a trace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

/// Of the steps in `path` that have any rows, `[steps][ranks]`: what `serve_trace --dry-run --counts`
/// wrote. Throws BadInput that names file and line.
[[nodiscard]] std::vector<std::vector<std::int64_t>> read_trace_counts(const std::string& path,
                                                                       int ranks);

}  // namespace bench
