// What the user asked for; letters as nccl-tests has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "case.hpp"
#include "command_line/bad_input.hpp"

namespace gather_perf {

inline constexpr int max_ranks = 64;

struct Options {
  std::vector<What> what = {What::all_gather};
  std::vector<Comm> comms = {Comm::thread, Comm::mpi,  Comm::open_mpi,   Comm::gloo,
                             Comm::copy,   Comm::nccl, Comm::thread_gpu, Comm::copy_gpu};
  std::vector<Mode> modes = {Mode::max_len, Mode::sum_len_all_reduce, Mode::sum_len_all_gather_v,
                             Mode::sum_len_peer_store, Mode::automatic};
  std::vector<Spread> spreads = {Spread::even};
  std::int64_t begin = 32768;    ///< -b, bytes of the whole
  std::int64_t end = 33554432;   ///< -e
  std::int64_t factor = 2;       ///< -f
  std::int64_t iterations = 20;  ///< -n, of each round
  std::int64_t warmups = 2;      ///< -w, before each round
  std::int64_t rounds = 7;       ///< -N: all subjects run in turn, so many times
  bool check = true;             ///< -c
  bool pin = true;               ///< ranks to cores, where each has one
  bool in_place = true;          ///< both ways; else out of place only
  dpgather::DType dtype = dpgather::DType::bfloat16;
  int ranks = 2;  ///< -t, threads; under mpirun as many as there are processes
  int hosts = 1;
  std::int64_t hidden = 7168;
  double seconds = 0.2;           ///< of one round of one subject, most; iterations give way
  std::string trace_counts = {};  ///< CSV of `serve_trace --dry-run --counts`
  std::uint64_t seed = 1;         ///< of the steps drawn from it
  std::string json = {};          ///< file; empty: none
};

using command_line::BadInput;

/// `processes`: of mpirun; 0 without it. Throws BadInput. None: help was asked for, and its text is
/// in `help`.
[[nodiscard]] std::optional<Options> parse_options(int argc, const char* const* argv, int processes,
                                                   std::string& help);

}  // namespace gather_perf
