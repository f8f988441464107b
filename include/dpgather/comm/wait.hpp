// Waiting on a 32-bit word between threads or processes: spin where cores allow, then sleep in the
// kernel.
#pragma once

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <thread>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace dpgather::detail {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 &&
              std::atomic<std::uint32_t>::is_always_lock_free);

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Sleeps while `word` holds `seen`, for at most `limit`. Works across processes (no private
/// futex).
inline void sleep_on(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                     std::chrono::milliseconds limit) {
  const timespec time{limit.count() / 1000, (limit.count() % 1000) * 1000000};
  syscall(SYS_futex, reinterpret_cast<const std::uint32_t*>(&word), FUTEX_WAIT, seen, &time,
          nullptr, 0);
}
inline void wake_all(const std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<const std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr,
          nullptr, 0);
}

/// Spins, and how often to offer the core to others and spin again, before sleeping. Spinning pays off for as long
/// as a cache line travels: a peer that has no core now comes sooner if it is offered this one, and
/// ranks that share cores must give them up at once.
struct SpinBudget {
  int spins;
  int yields;
  [[nodiscard]] bool shares_cores() const { return spins == 0; }
  static SpinBudget for_ranks(int ranks) {
    const auto cores = static_cast<int>(std::thread::hardware_concurrency());
    return ranks <= cores ? SpinBudget{64, 16} : SpinBudget{0, 4};
  }
};

/// Waits until `done()`; returns false when `limit` has passed since it stopped spinning. Whoever makes
/// it true, and then finds `sleepers` not 0, changes `word` and calls `wake_all(word)`; all of that,
/// and the loads of `done`, sequentially consistent. `poll()` runs now and then while asleep and may
/// throw.
template <class Done, class Poll>
bool wait_until(const std::atomic<std::uint32_t>& word, std::atomic<std::uint32_t>& sleepers,
                SpinBudget budget, std::chrono::milliseconds limit, const Done& done,
                const Poll& poll) {
  for (int i = 0; i < budget.spins; ++i) {
    if (done()) return true;
    cpu_relax();
  }
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (int i = 0; i < budget.yields; ++i) {
    if (done()) return true;
    sched_yield();
    for (int spin = 0; spin < budget.spins; ++spin) {
      if (done()) return true;
      cpu_relax();
    }
  }
  struct Sleeping {
    std::atomic<std::uint32_t>& count;
    explicit Sleeping(std::atomic<std::uint32_t>& c) : count(c) { count.fetch_add(1); }
    ~Sleeping() { count.fetch_sub(1); }
  } const sleeping{sleepers};
  for (;;) {
    const std::uint32_t seen = word.load();
    if (done()) return true;
    poll();
    if (std::chrono::steady_clock::now() >= deadline) return false;
    sleep_on(word, seen, std::chrono::milliseconds(20));
  }
}

/// Waits until `done(value of word)`. `sleepers` lets the waker skip the system call when nobody
/// sleeps.
template <class Done, class Poll>
bool wait_word(const std::atomic<std::uint32_t>& word, std::atomic<std::uint32_t>& sleepers,
               SpinBudget budget, std::chrono::milliseconds limit, const Done& done,
               const Poll& poll) {
  return wait_until(
      word, sleepers, budget, limit, [&] { return done(word.load()); }, poll);
}

/// After a store to `word`: pairs with `wait_word`. Both sides are sequentially consistent on
/// `sleepers`.
inline void wake_sleepers(const std::atomic<std::uint32_t>& word,
                          const std::atomic<std::uint32_t>& sleepers) {
  if (sleepers.load() != 0) wake_all(word);
}

}  // namespace dpgather::detail
