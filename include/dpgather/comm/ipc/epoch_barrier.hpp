// The barrier of ranks with a GPU each: every rank tells every peer its epoch, and waits for theirs.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dpgather/core/config.hpp>
#include <dpgather/core/cuda/wait_body.hpp>

namespace dpgather::detail {

/// Peers' addresses travel as an argument of a kernel.
inline constexpr int max_ipc_ranks = 64;

/// What a stop word says: why element work ends, and through which rank. Never 0.
struct StopCode {
  enum class Why : std::uint32_t { late = 1, aborted = 2 };
  static constexpr int unknown = 0xffff;
  [[nodiscard]] DPGATHER_HD static constexpr std::uint32_t of(Why why, int rank) {
    return static_cast<std::uint32_t>(why) << 16U | static_cast<std::uint32_t>(rank);
  }
  [[nodiscard]] static constexpr Why why(std::uint32_t code) {
    return static_cast<Why>(code >> 16U);
  }
  [[nodiscard]] static constexpr int rank(std::uint32_t code) {
    return static_cast<int>(code & 0xffffU);
  }
};

/// The words of a rank, in the memory of its device, which all peers map:
/// [0] stop, [1] epoch, which its own barriers alone advance, [2 + p] the last epoch that rank p has
/// come to.
struct BarrierWords {
  static constexpr std::size_t stop = 0, epoch = 1, arrived = 2;
  [[nodiscard]] static constexpr std::size_t number(int ranks) {
    return arrived + static_cast<std::size_t>(ranks);
  }
};

/// One barrier, as a WaitBody with a row a peer. The epoch is read when the work runs, so a graph
/// may hold it; a rank is never more than one epoch ahead of another, so epochs are compared by their
/// difference and may wrap around.
struct EpochBarrier {
  std::uint32_t* words[max_ipc_ranks];  // of each rank, where this one reaches them
  std::uint32_t* seen;                  // the stop word, for this rank's host
  int ranks;
  int rank;

  DPGATHER_HD void begin(int peer) const {
    // Memory of a rank that is gone is not touched.
    if (peer == rank || load_acquire_system(own() + BarrierWords::stop) != 0) return;
    // Behind all that this rank's stream did before, and what it saw of others.
    store_release_system(words[peer] + BarrierWords::arrived + rank, next());
  }
  DPGATHER_HD bool done(int peer) const {
    return arrived(peer) || load_acquire_system(own() + BarrierWords::stop) != 0;
  }
  DPGATHER_HD void end(bool expired) const {
    std::uint32_t code = load_acquire_system(own() + BarrierWords::stop);
    if (expired && code == 0) code = give_up();
    if (code != 0) store_release_system(seen, code);
    own()[BarrierWords::epoch] = next();
  }

 private:
  [[nodiscard]] DPGATHER_HD std::uint32_t* own() const { return words[rank]; }
  [[nodiscard]] DPGATHER_HD std::uint32_t next() const { return own()[BarrierWords::epoch] + 1; }
  [[nodiscard]] DPGATHER_HD bool arrived(int peer) const {
    if (peer == rank) return true;
    const std::uint32_t epoch = load_acquire_system(own() + BarrierWords::arrived + peer);
    return static_cast<std::int32_t>(epoch - next()) >= 0;
  }
  /// The first rank that has not come is to blame, so that all who wait for it say the same. Those
  /// that came meanwhile are not: then there is nothing to give up.
  [[nodiscard]] DPGATHER_HD std::uint32_t give_up() const {
    int missing = 0;
    while (missing < ranks && arrived(missing)) ++missing;
    if (missing == ranks) return 0;
    const std::uint32_t code = StopCode::of(StopCode::Why::late, missing);
    for (int i = 0; i < ranks; ++i) store_release_system(words[i] + BarrierWords::stop, code);
    return code;
  }
};

}  // namespace dpgather::detail
