// The two things below the scheduler that really wait in the kernel. By raw system calls, since
// posix.cpp has `syscall` and `sched_yield` for itself.
#include <climits>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>

#include "sim/raw_syscall.hpp"
#include "sim/scheduler.hpp"

namespace sim {
namespace {

void sleep_while(const std::atomic<std::uint32_t>& word, std::uint32_t seen, const timespec* time) {
  raw_syscall(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAIT_PRIVATE, seen,
              reinterpret_cast<long>(time), 0, 0);
}
void wake(const std::atomic<std::uint32_t>& word) {
  raw_syscall(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
}

}  // namespace

void TicketLock::lock() {
  const std::uint32_t mine = next_.fetch_add(1);
  for (std::uint32_t now = serving_.load(); now != mine; now = serving_.load())
    sleep_while(serving_, now, nullptr);
}

void TicketLock::unlock() {
  const std::uint32_t next = serving_.fetch_add(1) + 1;
  if (next_.load() != next) wake(serving_);
}

void Gate::open() {
  word_.store(1, std::memory_order_release);
  wake(word_);
}

void Gate::wait() {
  while (word_.exchange(0, std::memory_order_acquire) == 0) sleep_while(word_, 0, nullptr);
}

bool Gate::wait_for(int ms) {
  const timespec time{ms / 1000, (ms % 1000) * 1000000L};
  if (word_.exchange(0, std::memory_order_acquire) != 0) return true;
  sleep_while(word_, 0, &time);
  return word_.exchange(0, std::memory_order_acquire) != 0;
}

}  // namespace sim
