// All ranks of a run planned in one thread: no data, no threads.
#pragma once

#include "figures.hpp"
#include "hooks.hpp"
#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

[[nodiscard]] Figures dry_run(const Options& options, const Trace& trace,
                              const OnStep& on_step = {});

}  // namespace serve_trace
