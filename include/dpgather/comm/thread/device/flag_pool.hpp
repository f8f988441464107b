// Flags of captured calls, and the thread that frees streams which wait for a rank that is gone.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/device/brake.hpp>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/stream_memory.hpp>

namespace dpgather::detail {

/// Counts the captured calls that use a lane's flags; graphs may outlive the pool.
class LaneUsers {
 public:
  explicit LaneUsers(int lanes) : users_(static_cast<std::size_t>(lanes)) {}
  [[nodiscard]] std::atomic<int>& operator[](int lane) {
    return users_[static_cast<std::size_t>(lane)];
  }

 private:
  std::vector<std::atomic<int>> users_;
};

/// A *lane* is what captured calls that follow one another on every rank have in common: one stream
/// of one capture. It has two flags for each ordered pair of ranks. All live in pinned memory: every
/// device reaches it, and so does the host when a rank is gone.
class FlagPool {
 public:
  FlagPool(int ranks, int lanes, std::chrono::milliseconds patience)
      : ranks_(ranks),
        lanes_(lanes),
        patience_(patience),
        users_(std::make_shared<LaneUsers>(lanes)),
        keys_(static_cast<std::size_t>(lanes)),
        brakes_(static_cast<std::size_t>(ranks)),
        flags_(std::int64_t{2} * lanes * ranks * ranks) {
    fill(Flag::clear);
  }
  FlagPool(const FlagPool&) = delete;
  FlagPool& operator=(const FlagPool&) = delete;
  /// The last rank has gone. Work that still runs here is waited for; what waits for a rank that
  /// never launched its part is freed.
  ~FlagPool() {
    if (used_) {
      free_waits(patience_);
      try {
        for (const auto& brake : brakes_) {
          if (!brake) continue;
          const DeviceScope scope(brake->device());
          cuda_report(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        }
      } catch (const std::exception& error) {
        destructor_error_handler()(error.what());
      }
    }
    stop_.store(true);
    if (freer_.joinable()) freer_.join();
  }

  /// Each rank's once, while all construct; on its device.
  void add_brake(int rank) { brakes_[static_cast<std::size_t>(rank)] = std::make_unique<Brake>(); }
  [[nodiscard]] const std::uint32_t* stop_word(int rank) const {
    return brakes_[static_cast<std::size_t>(rank)]->word();
  }
  [[nodiscard]] int lanes() const { return lanes_; }
  /// `from` sets it and waits for it to be clear; `to` waits for it to be set and clears it.
  [[nodiscard]] std::uint32_t* flag(int lane, int which, int from, int to) const {
    return flags_.data() + ((std::int64_t{lane} * 2 + which) * ranks_ + from) * ranks_ + to;
  }

  /// For rank 0, between rendezvous: the lane that `key` has, or a free one; -1 if none is. `key`
  /// has each rank's own number of its capture and stream.
  [[nodiscard]] int choose(std::span<const std::uint64_t> key) {
    used_ = true;
    for (int lane = 0; lane < lanes_; ++lane)
      if (std::ranges::equal(key_of(lane), key)) return lane;
    // Round and round, so that one that a graph has just left is taken last.
    for (int i = 0; i < lanes_; ++i) {
      const int lane = (next_ + i) % lanes_;
      if ((*users_)[lane].load() > 0 || !all_clear(lane)) continue;
      key_of(lane).assign(key.begin(), key.end());
      next_ = (lane + 1) % lanes_;
      return lane;
    }
    return -1;
  }
  /// The lane is taken until the last copy of what this returns is gone.
  [[nodiscard]] std::shared_ptr<const void> use(int lane) const {
    (*users_)[lane].fetch_add(1);
    return {static_cast<const void*>(this),
            [users = users_, lane](const void*) { (*users)[lane].fetch_sub(1); }};
  }

  /// From now (or after `patience`) on no stream waits for a flag for long. A write could meet one
  /// of a stream that lives and be lost, hence again and again, as long as the pool lives.
  void free_waits(std::chrono::milliseconds patience = {}) noexcept {
    const auto begin = std::chrono::steady_clock::now() + patience;
    const std::lock_guard lock(mutex_);
    if (begin < begin_.load()) begin_.store(begin);
    if (freer_.joinable()) return;
    try {
      freer_ = std::thread([this] { free_for_ever(); });
    } catch (const std::exception&) {
      stop_kernels();
      fill(Flag::freed);  // no thread is to be had: once is better than never
    }
  }

 private:
  void free_for_ever() noexcept {
    bool stopped = false;
    for (int pause_ms = 1; !stop_.load(); pause_ms = std::min(2 * pause_ms, 16)) {
      if (std::chrono::steady_clock::now() >= begin_.load()) {
        if (!std::exchange(stopped, true)) stop_kernels();
        fill(Flag::freed);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    }
  }
  /// Before any wait is freed: what comes behind it must not touch the buffers of a rank that is
  /// gone.
  void stop_kernels() const noexcept {
    try {
      for (const auto& brake : brakes_)
        if (brake) brake->pull();
    } catch (const std::exception&) {  // the device is beyond help, and its kernels with it
    }
  }
  [[nodiscard]] std::vector<std::uint64_t>& key_of(int lane) {
    return keys_[static_cast<std::size_t>(lane)];
  }
  void fill(std::uint32_t value) const {
    for (std::int64_t i = 0; i < flags_.size(); ++i)
      std::atomic_ref(flags_.data()[i]).store(value, std::memory_order_relaxed);
  }
  [[nodiscard]] bool all_clear(int lane) const {
    const std::uint32_t* const first = flag(lane, 0, 0, 0);
    return std::all_of(
        first, first + std::ptrdiff_t{2} * ranks_ * ranks_, [](const std::uint32_t& value) {
          return std::atomic_ref(const_cast<std::uint32_t&>(value)).load() == Flag::clear;
        });
  }

  const int ranks_;
  const int lanes_;
  const std::chrono::milliseconds patience_;
  std::shared_ptr<LaneUsers> users_;
  std::vector<std::vector<std::uint64_t>> keys_;
  std::vector<std::unique_ptr<Brake>> brakes_;
  bool used_ = false;
  int next_ = 0;
  Buffer<std::uint32_t, PinnedMemory> flags_;
  std::mutex mutex_;
  std::thread freer_;
  std::atomic<bool> stop_{false};
  std::atomic<std::chrono::steady_clock::time_point> begin_{
      std::chrono::steady_clock::time_point::max()};
};

}  // namespace dpgather::detail
