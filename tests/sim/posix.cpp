// Waits and clocks of the C library: on the threads of a run they pass the baton and use virtual
// time; on any other thread they are the real ones. A definition in the program comes before the one
// in a shared library, so libstdc++ and inline code get these.
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>

#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "sim/scheduler.hpp"
#include "sim/waiters.hpp"
#include "support/allocations.hpp"

namespace sim {
namespace {

template <class F>
F* real(const char* name) {
  // dlsym finds the oldest version of a condition variable's functions where there are several.
  void* found = nullptr;
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
#endif
  if (found == nullptr) found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<F*>(found);
}

Waiters& waiters() {
  static auto* const all = new Waiters;
  return *all;
}

constexpr double base_s = 1e6;  // what the clock shows at the start of a run

double seconds(const timespec& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
timespec to_timespec(double s) {
  const auto whole = static_cast<time_t>(s);
  return {whole, static_cast<long>((s - static_cast<double>(whole)) * 1e9)};
}

/// Waits for a signal at `at`, or for `other` to hold; false if the time came first.
bool wait_at(const void* at, const std::function<bool()>& other, double until) {
  const support::Uncounted own;
  Waiters::Entry entry{at};
  waiters().add(entry);
  const std::function<bool()> done = [&] { return entry.signalled.load() || other(); };
  const bool woken = Scheduler::get().block(&done, nullptr, until);
  waiters().remove(entry);
  return woken;
}

long futex(const std::uint32_t* word, int op, std::uint32_t value, const timespec* time) {
  const auto changed = [word, value] { return __atomic_load_n(word, __ATOMIC_SEQ_CST) != value; };
  if (changed()) {
    errno = EAGAIN;
    return -1;
  }
  double until = never;
  if (time != nullptr)
    until = op == FUTEX_WAIT ? Scheduler::get().now + seconds(*time) : seconds(*time) - base_s;
  if (wait_at(word, changed, until)) return 0;
  errno = time == nullptr ? EINTR : ETIMEDOUT;
  return -1;
}

int wait_condition(pthread_cond_t* condition, pthread_mutex_t* mutex, double until) {
  // Registered before the mutex is free: nothing runs in between, as this thread has the baton.
  pthread_mutex_unlock(mutex);
  const bool woken = wait_at(
      condition, [] { return false; }, until);
  pthread_mutex_lock(mutex);
  return woken || until == never ? 0 : ETIMEDOUT;
}

struct NewThread {
  void* (*function)(void*);
  void* argument;
  Participant* participant;
};

std::map<pthread_t, Participant*>& helpers() {
  static auto* const map = new std::map<pthread_t, Participant*>;
  return *map;
}

void* run_helper(void* raw) {
  const std::unique_ptr<NewThread> start(static_cast<NewThread*>(raw));
  Scheduler::get().enter(start->participant);
  void* const result = start->function(start->argument);
  Scheduler::get().leave(start->participant);
  return result;
}

}  // namespace
}  // namespace sim

using sim::real;
using sim::Scheduler;

extern "C" {

int sched_yield() noexcept {
  if (Scheduler::self() != nullptr) {
    const support::Uncounted own;
    sim::advance(1e-6);
    Scheduler::get().poll();
    return 0;
  }
  return static_cast<int>(syscall(SYS_sched_yield));
}

long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& value : a) value = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex) {
    const int op = static_cast<int>(a[1]) & FUTEX_CMD_MASK;
    const auto* const word = reinterpret_cast<const std::uint32_t*>(a[0]);
    if (op == FUTEX_WAKE || op == FUTEX_WAKE_BITSET) {
      if (Scheduler::get().running()) sim::waiters().signal(word, a[2] > 1);
    } else if ((op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET) && Scheduler::self() != nullptr) {
      return sim::futex(word, op, static_cast<std::uint32_t>(a[2]),
                        reinterpret_cast<const timespec*>(a[3]));
    }
  }
  static auto* const next = real<long(long, ...)>("syscall");
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if ((clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME) && Scheduler::self() != nullptr) {
    sim::advance(1e-7);
    *time = sim::to_timespec(sim::base_s + sim::now_s());
    return 0;
  }
  static auto* const next = real<int(clockid_t, timespec*)>("clock_gettime");
  return next(clock, time);
}

int nanosleep(const timespec* time, timespec* left) {
  if (Scheduler::self() != nullptr) {
    const support::Uncounted own;
    Scheduler::get().block(nullptr, nullptr, sim::now_s() + sim::seconds(*time));
    return 0;
  }
  static auto* const next = real<int(const timespec*, timespec*)>("nanosleep");
  return next(time, left);
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
  if (Scheduler::self() != nullptr) {
    const support::Uncounted own;
    const bool absolute = (flags & TIMER_ABSTIME) != 0;
    const double until =
        absolute ? sim::seconds(*time) - sim::base_s : sim::now_s() + sim::seconds(*time);
    Scheduler::get().block(nullptr, nullptr, until);
    return 0;
  }
  static auto* const next =
      real<int(clockid_t, int, const timespec*, timespec*)>("clock_nanosleep");
  return next(clock, flags, time, left);
}

int get_nprocs() noexcept {
  if (Scheduler::self() != nullptr) return 1;  // spinning would be waste
  static auto* const next = real<int()>("get_nprocs");
  return next();
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  if (Scheduler::self() != nullptr) {
    const support::Uncounted own;
    for (;;) {
      const int result = pthread_mutex_trylock(mutex);
      if (result != EBUSY) return result;
      // Whoever has it may be no participant: look again from time to time.
      const std::function<bool()> free = [mutex] {
        return __atomic_load_n(&mutex->__data.__lock, __ATOMIC_SEQ_CST) == 0;
      };
      Scheduler::get().block(&free, nullptr, sim::now_s() + 1e-3);
    }
  }
  static auto* const next = real<int(pthread_mutex_t*)>("pthread_mutex_lock");
  return next(mutex);
}

int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  if (Scheduler::self() != nullptr) return sim::wait_condition(condition, mutex, sim::never);
  static auto* const next = real<int(pthread_cond_t*, pthread_mutex_t*)>("pthread_cond_wait");
  return next(condition, mutex);
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const timespec* time) {
  if (Scheduler::self() != nullptr)
    return sim::wait_condition(condition, mutex, sim::seconds(*time) - sim::base_s);
  static auto* const next =
      real<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
  return next(condition, mutex, time);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* time) {
  if (Scheduler::self() != nullptr)
    return sim::wait_condition(condition, mutex, sim::seconds(*time) - sim::base_s);
  static auto* const next =
      real<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>(
          "pthread_cond_clockwait");
  return next(condition, mutex, clock, time);
}

int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  if (Scheduler::get().running()) sim::waiters().signal(condition, false);
  static auto* const next = real<int(pthread_cond_t*)>("pthread_cond_signal");
  return next(condition);
}

int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  if (Scheduler::get().running()) sim::waiters().signal(condition, true);
  static auto* const next = real<int(pthread_cond_t*)>("pthread_cond_broadcast");
  return next(condition);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*),
                   void* argument) noexcept {
  static auto* const next =
      real<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  const sim::Participant* const me = Scheduler::self();
  if (me == nullptr) return next(thread, attributes, function, argument);
  sim::Participant* const helper = Scheduler::get().add(me->rank, true);
  auto* const start = new sim::NewThread{function, argument, helper};
  const int result = next(thread, attributes, sim::run_helper, start);
  if (result != 0) {
    helper->state = sim::Participant::State::finished;
    delete start;
    return result;
  }
  static const bool cleared_each_run = (sim::on_reset([] { sim::helpers().clear(); }), true);
  static_cast<void>(cleared_each_run);
  sim::helpers()[*thread] = helper;
  return 0;
}

int pthread_join(pthread_t thread, void** result) {
  if (Scheduler::self() != nullptr && sim::helpers().count(thread) != 0) {
    const sim::Participant* const helper = sim::helpers()[thread];
    const std::function<bool()> ended = [helper] {
      return helper->state == sim::Participant::State::finished;
    };
    while (!ended()) Scheduler::get().block(&ended, nullptr, sim::never);
    sim::helpers().erase(thread);
    if (helper->gave_up()) return pthread_detach(thread);  // parked for ever
  }
  static auto* const next = real<int(pthread_t, void**)>("pthread_join");
  return next(thread, result);
}

}  // extern "C"
