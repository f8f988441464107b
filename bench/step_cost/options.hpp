// What the user asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "command_line/bad_input.hpp"

namespace step_cost {

using command_line::BadInput;

inline constexpr int max_ranks = 64;

struct Options {
  int ranks = 2;
  std::int64_t hidden = 1024;  ///< elements of a row, bf16
  std::int64_t steps = 300;
  std::int64_t passes = 5;
  std::int64_t most = 512;  ///< rows of a rank that prefills, of synthetic steps
  std::uint64_t seed = 1;   ///< of synthetic steps
  std::string counts = {};  ///< CSV of `serve_trace --dry-run --counts`; empty: synthetic steps
  std::string json = {};    ///< file; empty: none
  bool rewrite = true;      ///< what ranks send, before each step
  bool pin = true;          ///< ranks to cores
};

/// `processes`: of mpirun; 0: ranks are threads. Throws BadInput. None: help was asked for, and its
/// text is in `help`.
[[nodiscard]] std::optional<Options> parse_options(int argc, const char* const* argv, int processes,
                                                   std::string& help);

}  // namespace step_cost
