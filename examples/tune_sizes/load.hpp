// The decode steps that shapes are tuned for and judged on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/tune/load_histogram.hpp>

#include "options.hpp"

namespace tune_sizes {

struct Load {
  std::string name;                              ///< of the traffic or file
  int ranks = 1, attn_tp = 1;                    ///< W, A
  std::int64_t largest = 1;                      ///< local size
  dpgather::LoadHistogram histogram;             ///< what shapes are tuned from
  std::vector<dpgather::LoadEntry> judged = {};  ///< what they are judged on, not coarsened
  std::int64_t tuned_steps = 0, judged_steps = 0;

  [[nodiscard]] dpgather::CaptureSizes default_sizes() const {
    return dpgather::CaptureSizes::sglang(largest, 1, attn_tp);
  }
};

/// Decode-only steps while requests still arrive, of a replay; or a saved histogram. Throws
/// BadInput.
[[nodiscard]] Load read_load(const Options& options);

}  // namespace tune_sizes
