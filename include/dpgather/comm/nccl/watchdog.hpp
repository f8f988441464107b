// A thread that looks at something now and then, and what it looks at.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include <dpgather/comm/wait.hpp>

namespace dpgather {
namespace detail {

/// What a thread says it is doing, for others to judge. One at a time.
class NcclGuarded {
 public:
  /// False if something is set already. `what` must live until it is lifted.
  bool set(const char* what) {
    if (since_.load() != 0) return false;
    what_.store(what);
    since_.store(std::chrono::steady_clock::now().time_since_epoch().count());
    return true;
  }
  void lift() { since_.store(0); }
  /// What it is, if for `limit` or longer; else null.
  [[nodiscard]] const char* overdue(std::chrono::milliseconds limit) const {
    using Clock = std::chrono::steady_clock;
    const auto since = since_.load();
    if (since == 0) return nullptr;
    const Clock::time_point start{Clock::duration(since)};
    return Clock::now() - start >= limit ? what_.load() : nullptr;
  }

 private:
  std::atomic<const char*> what_{nullptr};
  std::atomic<std::chrono::steady_clock::rep> since_{0};
};

/// Calls `look` every `interval` until it is destroyed; `look` must not throw.
class NcclWatchdog {
 public:
  NcclWatchdog(std::chrono::milliseconds interval, std::function<void()> look)
      : thread_([this, interval, look = std::move(look)] {
          while (stop_.load() == 0) {
            look();
            sleep_on(stop_, 0, interval);
          }
        }) {}
  NcclWatchdog(const NcclWatchdog&) = delete;
  NcclWatchdog& operator=(const NcclWatchdog&) = delete;
  ~NcclWatchdog() {
    stop_.store(1);
    wake_all(stop_);
    thread_.join();
  }

 private:
  std::atomic<std::uint32_t> stop_{0};
  std::thread thread_;
};

}  // namespace detail

/// While it lives, a wait of this rank's thread that the watchdog judges by the deadline. It does
/// not throw: call `check` after the wait.
class [[nodiscard]] NcclGuard {
 public:
  NcclGuard(detail::NcclGuarded& guarded, const char* what)
      : guarded_(guarded.set(what) ? &guarded : nullptr) {}
  NcclGuard(const NcclGuard&) = delete;
  NcclGuard& operator=(const NcclGuard&) = delete;
  ~NcclGuard() {
    if (guarded_ != nullptr) guarded_->lift();
  }

 private:
  detail::NcclGuarded* guarded_;  // null inside another guard, which counts
};

}  // namespace dpgather
