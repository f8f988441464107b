// What the user asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <dpgather/plan/layout.hpp>
#include <dpgather/plan/rule.hpp>

#include "command_line/bad_input.hpp"

namespace serve_trace {

using command_line::BadInput;

enum class Serve : std::uint8_t { mixed, decode };
enum class ModeChoice : std::uint8_t {
  max_len,
  sum_len,
  sum_len_v,
  sum_len_peer,
  sum_len_hier,
  auto_rule
};
enum class RuleChoice : std::uint8_t { volume, volume_tie_max };
enum class CommChoice : std::uint8_t { thread, mpi, sim, sim_thread };
enum class ScheduleChoice : std::uint8_t { late, random, eager };

/// GPUs are simulated, and ranks are threads.
[[nodiscard]] constexpr bool is_simulated(CommChoice comm) {
  return comm == CommChoice::sim || comm == CommChoice::sim_thread;
}

/// Ranks may reach each other's memory there: those of MpiComm and NcclComm do not.
[[nodiscard]] constexpr bool offers_peers(CommChoice comm) {
  return comm == CommChoice::thread || comm == CommChoice::sim_thread;
}

/// Inputs are 0..7, weights -1, 0 or 1, and the FFN's inner dimension is 2 * hidden: no partial sum
/// exceeds 14 * hidden^2, which a float holds exactly up to 2^24.
inline constexpr std::int64_t max_hidden = 1024;
/// The columns that spell a row's identity (see identity.hpp).
inline constexpr std::int64_t min_hidden = 24;
static_assert(14 * max_hidden * max_hidden <= (1 << 24));

struct Options {
  std::string trace = {};  ///< CSV file; empty: synthetic traffic
  Serve serve = Serve::mixed;
  int ranks = 8;  ///< W
  int attn_tp = 1;
  std::int64_t chunk = 2048;
  std::int64_t max_running = 256;
  std::int64_t step_ms = 25;
  std::int64_t speedup = 8;
  ModeChoice mode = ModeChoice::auto_rule;
  RuleChoice rule = RuleChoice::volume;
  bool peers = true;         ///< --mode auto stores into peers' memory where it is in reach
  int hosts = 1;             ///< ranks reach each other's memory on each, not between them
  std::string shapes = {};   ///< file of shapes to capture at; empty: SGLang's default sizes
  bool retune = false;       ///< shapes follow the traffic
  std::int64_t graphs = 36;  ///< most graphs held, the latest used; 0: no limit
  std::int64_t hidden = 64;
  std::int64_t steps = 0;        ///< the first N; 0: all
  std::uint64_t seed = 1;        ///< of weights, synthetic traffic and simulated schedules
  std::int64_t requests = 2000;  ///< of synthetic traffic
  double rate = 5.5;             ///< of synthetic traffic, requests a second
  CommChoice comm = CommChoice::thread;
  ScheduleChoice schedule = ScheduleChoice::late;  ///< of simulated GPUs
  bool dry_run = false;
  std::string counts = {};  ///< file for the counts of each step of a dry run; empty: none
  std::string json = {};    ///< file; empty: none

  [[nodiscard]] dpgather::DpLayout layout() const { return {.dp = ranks, .attn_tp = attn_tp}; }
  [[nodiscard]] dpgather::VolumeRule volume_rule() const {
    dpgather::VolumeRule rule_asked = dpgather::VolumeRule::sglang_8280();
    if (rule == RuleChoice::volume_tie_max) rule_asked.tie = dpgather::LenMode::max_len;
    return rule_asked;
  }
};

[[nodiscard]] std::string_view name(Serve serve);
[[nodiscard]] std::string_view name(ModeChoice mode);
[[nodiscard]] std::string_view name(RuleChoice rule);
[[nodiscard]] std::string_view name(CommChoice comm);
[[nodiscard]] std::string_view name(ScheduleChoice schedule);

/// Throws BadInput. None: help was asked for, and its text is in `help`.
[[nodiscard]] std::optional<Options> parse_options(int argc, const char* const* argv,
                                                   std::string& help);

}  // namespace serve_trace
