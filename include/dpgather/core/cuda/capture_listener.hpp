// Who wants to know that a capture will not go on.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace dpgather {

/// Something that several ranks capture together: told when a capture of its thread ends with an
/// exception, so that its peers do not wait for the rest.
class CaptureListener {
 public:
  CaptureListener() {
    const std::lock_guard lock(mutex());
    all().push_back(this);
  }
  CaptureListener(const CaptureListener&) = delete;
  CaptureListener& operator=(const CaptureListener&) = delete;

  /// Its thread is the one that used it last.
  void used() noexcept { thread_.store(std::this_thread::get_id(), std::memory_order_relaxed); }
  virtual void capture_abandoned() noexcept = 0;

  /// Tells those of this thread.
  static void abandon() noexcept {
    const std::lock_guard lock(mutex());
    for (CaptureListener* const listener : all())
      if (listener->thread_.load() == std::this_thread::get_id()) listener->capture_abandoned();
  }

 protected:
  ~CaptureListener() {
    const std::lock_guard lock(mutex());
    all().erase(std::find(all().begin(), all().end(), this));
  }

 private:
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  static std::vector<CaptureListener*>& all() {
    static std::vector<CaptureListener*> listeners;
    return listeners;
  }
  std::atomic<std::thread::id> thread_{std::this_thread::get_id()};
};

}  // namespace dpgather
