// Keeping ranks on cores of their own. Threads that begin together may share a core for milliseconds
// before the kernel parts them, which is longer than what is measured.
#pragma once

#include <cstddef>
#include <thread>

#include <sched.h>

namespace bench {

/// Whether each rank has a core.
inline bool can_pin(int ranks) {
  return ranks <= static_cast<int>(std::thread::hardware_concurrency());
}

/// Keeps the calling thread to one core for as long as this lives, if `on`; where the process may not
/// use that core, nothing happens.
class Pinned {
 public:
  Pinned(int core, bool on) : on_(on) {
    if (!on_) return;
    CPU_ZERO(&before_);
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(core), &set);
    static_cast<void>(sched_setaffinity(0, sizeof set, &set));
  }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() {
    if (on_) sched_setaffinity(0, sizeof before_, &before_);
  }

 private:
  bool on_;
  cpu_set_t before_{};
};

}  // namespace bench
