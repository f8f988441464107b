// The barrier of ranks of which some share a GPU: their streams wait, and no kernel does.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include <dpgather/comm/ipc/epoch_barrier.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/cuda/stream_memory.hpp>

namespace dpgather::detail {

/// Flags of a rank behind its BarrierWords, one of each kind a peer: that the peer has come, and that
/// it has seen this rank come. A rank waits for its own flags alone. Values are baked into graphs, so
/// each barrier leaves all clear, and none meets the flags of another: `r` sets "came" of `p` again
/// only when `p` has said that it has seen and cleared it; `p` says so again only when `r` has come
/// again, and `r` cleared that before.
struct StreamBarrier {
  [[nodiscard]] static constexpr std::size_t first(int ranks) {
    return BarrierWords::number(ranks);
  }
  [[nodiscard]] static constexpr std::size_t number(int ranks) {
    return 2 * static_cast<std::size_t>(ranks);
  }

  static void enqueue(CudaStream stream, const EpochBarrier& at) {
    const auto flag = [&](int of, int kind, int by) {
      return at.words[of] + first(at.ranks) + static_cast<std::size_t>(kind * at.ranks + by);
    };
    const auto for_peers = [&](const auto& f) {
      for (int i = 1; i < at.ranks; ++i) f((at.rank + i) % at.ranks);
    };
    constexpr int came = 0, seen = 1;
    StreamMemoryBatch batch;
    for_peers([&](int p) { batch.write(flag(p, came, at.rank), Flag::set); });
    for_peers([&](int p) { batch.wait(flag(at.rank, came, p), Flag::set); });
    batch.submit(stream);
    for_peers([&](int p) {
      batch.write(flag(at.rank, came, p), Flag::clear);
      batch.write(flag(p, seen, at.rank), Flag::set);
    });
    for_peers([&](int p) {
      batch.wait(flag(at.rank, seen, p), Flag::set);
      batch.write(flag(at.rank, seen, p), Flag::clear);
    });
    batch.submit(stream);
  }
};
static_assert(4 * (max_ipc_ranks - 1) <= 255, "one batch of the driver");

/// A thread that does `work` every few milliseconds until this goes: streams that wait for a rank that
/// is gone need someone to free them, whatever the host does meanwhile.
class Ticker {
 public:
  explicit Ticker(std::function<void()> work)
      : thread_([this, f = std::move(work)] {
          for (int pause_ms = 1; !stop_.load(); pause_ms = std::min(2 * pause_ms, 16)) {
            f();
            std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
          }
        }) {}
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;
  ~Ticker() {
    stop_.store(true);
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace dpgather::detail
