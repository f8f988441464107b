// A histogram as a JSON file.
#pragma once

#include <string>

#include "load.hpp"

namespace tune_sizes {

/// Throws BadInput that names the file and what is wrong with it.
[[nodiscard]] Load read_histogram(const std::string& path);
void write_histogram(const std::string& path, const Load& load);

}  // namespace tune_sizes
