// That a communicator has failed, and why: the first reason stays.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>

#include <dpgather/core/error.hpp>

namespace dpgather::detail {

/// Any thread may ask or tell.
class NcclFailure {
 public:
  [[nodiscard]] explicit operator bool() const { return failed_.load(std::memory_order_acquire); }
  void set(std::string_view reason) {
    const std::lock_guard lock(mutex_);
    if (failed_.load()) return;
    reason_ = reason.empty() ? std::string_view("aborted without a reason") : reason;
    failed_.store(true, std::memory_order_release);
  }
  /// Throws PeerError if it was set.
  void check(const ErrorContext& at) const {
    if (!*this) [[likely]]
      return;
    const std::lock_guard lock(mutex_);
    throw PeerError(at, concat("communicator failed: ", reason_));
  }

 private:
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  std::string reason_;
};

}  // namespace dpgather::detail
