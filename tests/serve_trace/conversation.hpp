// The published conversation trace, for test programs that link conversation.cpp. Its main ends the
// program as skipped where the trace is not at hand.
#pragma once

#include "trace.hpp"

namespace serve_trace {

[[nodiscard]] const Trace& conversation();

}  // namespace serve_trace
