// Keeping ranks on cores. Threads that begin together may share a core for milliseconds before the
// kernel parts them, which is longer than what is measured; where ranks share cores anyway, three may
// be on one for as long.
#pragma once

#include <cstddef>

#include <sched.h>

namespace bench {

/// Keeps the calling thread, of rank `rank`, to one of the cores that it may use for as long as this
/// lives, if `on`: ranks go round the cores.
class Pinned {
 public:
  Pinned(int rank, bool on) : on_(on) {
    CPU_ZERO(&before_);
    if (!on_) return;
    on_ = sched_getaffinity(0, sizeof before_, &before_) == 0;
    if (!on_) return;
    const int turn = rank % CPU_COUNT(&before_);
    int core = -1;
    for (int passed = -1; passed < turn;)
      if (CPU_ISSET(static_cast<std::size_t>(++core), &before_)) ++passed;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(core), &one);
    on_ = sched_setaffinity(0, sizeof one, &one) == 0;
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
