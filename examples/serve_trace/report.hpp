// The closing table.
#pragma once

#include <string>

#include "figures.hpp"
#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

[[nodiscard]] std::string report(const Options& options, const Trace& trace,
                                 const Figures& figures);

}  // namespace serve_trace
