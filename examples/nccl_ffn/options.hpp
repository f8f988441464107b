// What the user asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <dpgather/plan/layout.hpp>

#include "command_line/bad_input.hpp"

namespace nccl_ffn {

using command_line::BadInput;

enum class Mode : std::uint8_t { automatic, max_len, sum_len };
enum class Type : std::uint8_t { bf16, float32 };

struct Options {
  int attn_tp = 1;             ///< A; the DP size is the number of processes over A
  std::int64_t hidden = 1024;  ///< H
  std::int64_t inner = 4096;   ///< of the FFN, over all ranks
  int layers = 4;
  std::int64_t steps = 200;
  std::int64_t requests = 64;    ///< most that run on one DP rank
  std::int64_t graph_size = 48;  ///< steps of more requests on some rank are eager
  Mode mode = Mode::automatic;
  Type type = Type::bf16;
  std::int64_t check = 1;  ///< output rows of every Nth step are checked; 0: none
  std::int64_t seed = 1;
  std::int64_t deadline = 60;  ///< seconds

  /// Throws BadInput unless `processes` processes can serve it.
  [[nodiscard]] dpgather::DpLayout layout(int processes) const;
};

/// Throws BadInput. None: help was asked for, and its text is in `help`.
[[nodiscard]] std::optional<Options> parse_options(int argc, const char* const* argv,
                                                   std::string& help);

}  // namespace nccl_ffn
