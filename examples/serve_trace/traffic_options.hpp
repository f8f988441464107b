// Options that say which traffic is served, and on how many ranks.
#pragma once

#include <cstdint>
#include <vector>

#include <CLI/CLI.hpp>

#include "options.hpp"

namespace serve_trace {

inline constexpr int max_world = 1024;    // ranks that serve
inline constexpr int max_planned = 4096;  // ranks of a dry run
inline constexpr std::int64_t max_batch = std::int64_t{1} << 20;

/// --trace or what synthetic traffic is made from, how it is served, and on how many ranks. Returns
/// the options it added.
std::vector<CLI::Option*> add_traffic_options(CLI::App& app, Options& options);

}  // namespace serve_trace
