// What varies from step to step, at fixed addresses, for element work and captured graphs to read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <dpgather/core/config.hpp>
#include <dpgather/core/launch.hpp>
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

namespace detail {

/// Numbers that travel as a kernel argument: no memory of the host's is read when the work runs.
struct WriteWords {
  static constexpr int most = 96;
  std::int64_t values[most];
  std::int64_t* to;
  int count;
  DPGATHER_HD void operator()(std::int64_t, int lane, int lanes) const {
#if !defined(__CUDA_ARCH__)
    if (lanes == 1) {
      std::memcpy(to, values, static_cast<std::size_t>(count) * sizeof *to);
      return;
    }
#endif
    for (int i = lane; i < count; i += lanes) to[i] = values[i];
  }
  [[nodiscard]] std::int64_t row_bytes() const {
    return count * 8;
  }
};

}  // namespace detail

/// Owns that memory. One per lane in flight: two overlapping batches, or a draft model, take one
/// each. The error word lies where the host can read it.
template <MemorySpace Memory = HostMemory>
class DeviceCounts {
 public:
  DeviceCounts(std::int64_t blocks, std::int64_t own)
      : words_(3 * blocks), error_(1), blocks_(blocks), own_(own) {
    Memory::zero(words_.data(), static_cast<std::size_t>(words_.size()) * sizeof(std::int64_t));
    *error_.data() = 0;
  }

  [[nodiscard]] CountsView view() const {
    std::int64_t* const base = words_.data();
    return {.valid = base,
            .offsets = base + blocks_,
            .lens = base + 2 * blocks_,
            .error = error_.data(),
            .blocks = blocks_,
            .own = own_};
  }
  /// Writes the plan's counts in stream order, as arguments of the work: the plan may change as
  /// soon as this returns, however far the host runs ahead of the stream. One launch for each 96
  /// numbers, three a block.
  template <class Stream>
  void write(const Plan& plan, Stream stream) {
    require(!stream.capturing(), {.rank = plan.rank, .operation = "begin_step"},
            "begin_step belongs before the captured part: counts would be baked into the graph");
    detail::WriteWords words{};
    words.to = words_.data();
    const auto flush = [&] {
      launch(stream, "write_counts", 1, words);
      words.to += words.count;
      words.count = 0;
    };
    for (const auto* numbers : {&plan.valid, &plan.offsets, &plan.lens})
      for (std::size_t at = 0; at < numbers->size();) {
        const std::size_t room = static_cast<std::size_t>(detail::WriteWords::most - words.count);
        const std::size_t n = std::min(room, numbers->size() - at);
        std::memcpy(words.values + words.count, numbers->data() + at, n * sizeof(std::int64_t));
        words.count += static_cast<int>(n);
        at += n;
        if (words.count == detail::WriteWords::most) flush();
      }
    if (words.count > 0) flush();
  }
  /// Reads and clears the error word; call it where the stream is synchronised anyway.
  [[nodiscard]] std::int64_t take_error() { return std::exchange(*error_.data(), 0); }

 private:
  Buffer<std::int64_t, Memory> words_;
  Buffer<std::int64_t, typename Memory::visible_type> error_;
  std::int64_t blocks_;
  std::int64_t own_;
};

}  // namespace dpgather
