// The figures as a JSON file.
#pragma once

#include <string>

#include "figures.hpp"
#include "options.hpp"

namespace serve_trace {

[[nodiscard]] std::string to_json(const Options& options, const std::string& traffic,
                                  const Figures& figures);
/// Throws BadInput if the file cannot be written.
void write_json(const std::string& path, const std::string& text);

}  // namespace serve_trace
