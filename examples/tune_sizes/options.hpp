// What the user asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <dpgather/tune/size_tuner.hpp>

#include "command_line/bad_input.hpp"
#include "serve_trace/options.hpp"

namespace tune_sizes {

using command_line::BadInput;

enum class Axes : std::uint8_t { one, two };

struct Options {
  serve_trace::Options traffic = {.serve = serve_trace::Serve::decode};
  std::string histogram = {};       ///< file to read in place of traffic
  std::string save_histogram = {};  ///< file to write
  Axes axes = Axes::two;
  int shapes = 36;
  int attention_percent = 25;
  int spread = 0;  ///< percent
  std::int64_t graph_rows = 0;
  dpgather::PaddingBound padding = {};
  std::int64_t byte_budget = 0;
  dpgather::GraphBytes bytes = {};
  double train_share = 1;  ///< of the steps, the first; 1: tuned and judged on all
  std::string json = {};
  std::string plot = {};
};

/// Throws BadInput. None: help was asked for, and its text is in `help`.
[[nodiscard]] std::optional<Options> parse_options(int argc, const char* const* argv,
                                                   std::string& help);

}  // namespace tune_sizes
