// All ranks of a run planned in one thread: no data, no threads.
#pragma once

#include <functional>

#include "figures.hpp"
#include "hooks.hpp"
#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

/// Calls `see` for every step until all requests are answered, or --steps of them.
void replay_all(const Options& options, const Trace& trace,
                const std::function<void(const StepFacts&)>& see);

[[nodiscard]] Figures dry_run(const Options& options, const Trace& trace,
                              const OnStep& on_step = {});

}  // namespace serve_trace
