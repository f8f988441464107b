// Results as lines of nccl-tests' manner, and as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "case.hpp"

namespace gather_perf {

struct Result {
  Case of;
  Comm comm = Comm::thread;
  Mode mode = Mode::max_len;     ///< of a DpGather only
  double median = 0, least = 0;  ///< seconds of one call, the mean of ranks, over rounds
  std::int64_t iterations = 0;
  std::int64_t wrong = -1;  ///< on all ranks together; -1: not checked
  double wire_bytes = 0;    ///< of a rank, the mean; 0: not counted

  /// Bytes of the whole by time, in 1e9 a second, and what a bus carries of it.
  [[nodiscard]] double alg_bandwidth() const {
    return static_cast<double>(of.bytes()) / median / 1e9;
  }
  [[nodiscard]] double bus_bandwidth() const {
    return alg_bandwidth() * bus_factor(of.what, of.ranks);
  }
  /// Valid bytes by bytes that came over the wire.
  [[nodiscard]] double efficiency() const {
    return wire_bytes > 0 ? static_cast<double>(of.bytes()) / wire_bytes : 0;
  }
};

/// Of a DpGather the mode, of a collective what is called.
[[nodiscard]] inline std::string_view call_name(What what, Mode mode) {
  return is_of_gather(what) ? name(mode) : name(what);
}

[[nodiscard]] std::string heading();
/// One case of one subject, out of place and in place; null: there is no such call.
[[nodiscard]] std::string line(const Result* out_of_place, const Result* in_place);
/// Out-of-bounds values, and the average bus bandwidth of each communicator and mode.
[[nodiscard]] std::string footing(const std::vector<Result>& results);
[[nodiscard]] std::string to_json(const std::vector<Result>& results, const std::string& settings);

}  // namespace gather_perf
