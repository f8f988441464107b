#include "sim/world.hpp"

#include "sim/internal.hpp"
#include "sim/scheduler.hpp"

namespace sim {
namespace {

const Fault ended_fault{.cuda = cudaErrorLaunchTimeout, .nccl = 3};   // ncclInternalError
const Fault in_work_fault{.cuda = cudaErrorNotPermitted, .nccl = 5};  // ncclInvalidUsage

Options options_now;
Report report_of_run;
std::vector<std::function<void()>>& resets() {
  static std::vector<std::function<void()>> list;
  return list;
}

RankReport* mine() {
  const auto r = static_cast<std::size_t>(rank());
  return rank() >= 0 && r < report_of_run.ranks.size() ? &report_of_run.ranks[r] : nullptr;
}

/// Counts this call of `me` and finds the fault that was asked for here.
const Fault* count_call(const Participant& me, const char* name) {
  RankReport& of_rank = report_of_run.ranks[static_cast<std::size_t>(me.rank)];
  const std::int64_t index = of_rank.calls++;
  of_rank.log.push_back(name);
  for (const Fault& fault : options_now.faults) {
    if (fault.rank != me.rank || fault.call != index) continue;
    if (!fault.stops) return &fault;
    Scheduler::get().stop();
    return &ended_fault;
  }
  return nullptr;
}

const Fault* begin_call(const char* name, bool polls) {
  if (in_device_work()) return &in_work_fault;
  Participant* const me = Scheduler::self();
  if (me == nullptr) return nullptr;
  Scheduler& scheduler = Scheduler::get();
  me->where = name;
  if (ended()) {
    scheduler.block(nullptr, nullptr, scheduler.now);
    return &ended_fault;
  }
  advance(1e-7);
  if (polls)
    scheduler.poll();
  else
    scheduler.pass();
  return ended() ? &ended_fault : count_call(*me, name);
}

}  // namespace

ThreadState& this_thread() {
  thread_local ThreadState state;
  return state;
}
void forget_thread_state() {
  this_thread() = ThreadState{};
}

const Options& options() {
  return options_now;
}
const Report& last_report() {
  return report_of_run;
}
Report& report_now() {
  return report_of_run;
}

void on_reset(std::function<void()> reset) {
  resets().push_back(std::move(reset));
}
void reset_all() {
  for (auto& reset : resets()) reset();
}

void set_options(const Options& options);
void set_options(const Options& options) {
  options_now = options;
}

Turn::Turn() : guest_(!in_device_work() && Scheduler::self() == nullptr) {
  if (guest_ && this_thread().guest_turns++ == 0) Scheduler::get().baton.lock();
}
Turn::~Turn() {
  if (guest_ && --this_thread().guest_turns == 0) Scheduler::get().baton.unlock();
}

const Fault* call(const char* name) {
  return begin_call(name, false);
}
const Fault* poll_call(const char* name) {
  return begin_call(name, true);
}

bool block_until(const std::function<bool()>& done, const std::function<std::string()>& what) {
  Scheduler& scheduler = Scheduler::get();
  if (Scheduler::self() != nullptr) return scheduler.block(&done, &what, never);
  while (!done()) {  // a guest
    if (device_step()) continue;
    if (!scheduler.running()) {  // nobody else is there to help
      violation("a thread that is no rank waits for ever: " + what() + "\n" + scheduler.report());
      return false;
    }
    const int turns = this_thread().guest_turns;
    scheduler.baton.unlock();
    scheduler.baton.lock();
    this_thread().guest_turns = turns;
  }
  return true;
}

void progress() {
  Scheduler::get().progress();
}

int rank() {
  if (in_device_work()) return this_thread().work_rank;
  const Participant* const me = Scheduler::self();
  return me == nullptr ? -1 : me->rank;
}

std::uint64_t choose(std::uint64_t n) {
  return n <= 1 ? 0 : Scheduler::get().random() % n;
}
bool one_in(std::uint64_t n) {
  return choose(n) == 0;
}

bool ended() {
  const Participant* const me = Scheduler::self();
  return me != nullptr && (me->over || Scheduler::get().over);
}

void count(Count what, int times) {
  if (RankReport* const report = mine()) report->count[static_cast<std::size_t>(what)] += times;
}

double now_s() {
  return Scheduler::get().now;
}
void advance(double seconds) {
  Scheduler::get().now += seconds;
}

}  // namespace sim
