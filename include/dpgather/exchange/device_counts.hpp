// What varies from step to step, at fixed addresses, for element work and captured graphs to read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include <dpgather/core/config.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/core/stream.hpp>
#include <dpgather/plan/plan.hpp>

namespace dpgather {

/// Pointers that stay the same for the life of a gather; what they point at is this step's. Per
/// block (DP rank of the FFN group): rows that exist and where the block starts in the global
/// buffer.
struct CountsView {
  const std::int64_t* valid = nullptr;    ///< [blocks]
  const std::int64_t* offsets = nullptr;  ///< [blocks]
  const std::int64_t* lens = nullptr;     ///< [blocks], padded
  std::int64_t* error = nullptr;  ///< largest count that a captured len could not hold, 0 if none
  std::int64_t blocks = 0;
  std::int64_t own = 0;  ///< this rank's block

  /// Own rows that exist, clamped to the len that the caller was built for; an excess sets the
  /// error word.
  [[nodiscard]] DPGATHER_HD std::int64_t own_valid(std::int64_t len) const {
    return clamp(valid[own], len);
  }
  [[nodiscard]] DPGATHER_HD std::int64_t own_offset() const { return offsets[own]; }

  DPGATHER_HD std::int64_t clamp(std::int64_t count, std::int64_t len) const {
    if (count <= len) return count;
    if (*error < count) *error = count;
    return len;
  }
};

/// Owns that memory. One per lane in flight: two overlapping batches, or a draft model, take one
/// each.
template <MemorySpace Memory = HostMemory>
class DeviceCounts {
 public:
  DeviceCounts(std::int64_t blocks, std::int64_t own)
      : words_(3 * blocks + 1), blocks_(blocks), own_(own) {
    std::fill_n(words_.data(), words_.size(), std::int64_t{0});
  }

  [[nodiscard]] CountsView view() const {
    std::int64_t* const base = words_.data();
    return {.valid = base,
            .offsets = base + blocks_,
            .lens = base + 2 * blocks_,
            .error = base + 3 * blocks_,
            .blocks = blocks_,
            .own = own_};
  }
  /// Writes the plan's counts in stream order; the plan need not outlive the call.
  void write(const Plan& plan, HostStream stream) {
    require(!stream.capturing(), {.rank = plan.rank, .operation = "begin_step"},
            "begin_step belongs before the captured part: counts would be baked into the graph");
    std::copy(plan.valid.begin(), plan.valid.end(), words_.data());
    std::copy(plan.offsets.begin(), plan.offsets.end(), words_.data() + blocks_);
    std::copy(plan.lens.begin(), plan.lens.end(), words_.data() + 2 * blocks_);
  }
  /// Reads and clears the error word; call it where the stream is synchronised anyway.
  [[nodiscard]] std::int64_t take_error() { return std::exchange(words_.data()[3 * blocks_], 0); }

 private:
  Buffer<std::int64_t, Memory> words_;
  std::int64_t blocks_;
  std::int64_t own_;
};

}  // namespace dpgather
