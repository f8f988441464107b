// All ranks of a run planned in one thread: no data, no threads.
#pragma once

#include <functional>

#include "figures.hpp"
#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

/// Called after each step with the steps so far and the requests admitted.
using OnStep = std::function<void(std::int64_t steps, std::int64_t admitted)>;

[[nodiscard]] Figures dry_run(const Options& options, const Trace& trace,
                              const OnStep& on_step = {});

}  // namespace serve_trace
