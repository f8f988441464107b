#include "sim/scheduler.hpp"

#include <algorithm>
#include <cmath>

namespace sim {
namespace {

thread_local Participant* self_of_thread = nullptr;
constexpr int patience = 64;   // polls in a row before a participant counts as asleep
constexpr double nap = 50e-6;  // how long it sleeps then

using State = Participant::State;

}  // namespace

Scheduler& Scheduler::get() {
  static auto* const scheduler = new Scheduler;  // outlives every thread
  return *scheduler;
}

Participant* Scheduler::self() {
  return in_device_work() ? nullptr : self_of_thread;
}

void Scheduler::begin(const Options& options) {
  random.seed(options.seed);
  for (auto& participant : all_)
    if (participant->gave_up()) abandoned_.push_back(std::move(participant));
  all_.clear();
  now = last_progress_ = 0;
  jumps_ = 0;
  over = false;
  deadlock.clear();
  running_ = true;
}

Participant* Scheduler::add(int rank, bool helper) {
  all_.push_back(std::make_unique<Participant>());
  all_.back()->rank = rank;
  all_.back()->helper = helper;
  return all_.back().get();
}

void Scheduler::start() {
  Participant* const first = pick();
  if (first != nullptr)
    first->gate.open();
  else
    ended_.open();
}

bool Scheduler::wait_for_end(int ms) {
  return ended_.wait_for(ms);
}
void Scheduler::end() {
  running_ = false;
}

void Scheduler::enter(Participant* me) {
  self_of_thread = me;
  me->gate.wait();
}

void Scheduler::leave(Participant* me) {
  me->state = State::finished;
  progress();
  self_of_thread = nullptr;
  Participant* const next = pick();
  if (next != nullptr)
    next->gate.open();
  else
    ended_.open();
}

void Scheduler::progress() {
  last_progress_ = now;
  jumps_ = 0;
}

void Scheduler::hand_over(Participant* me) {
  if (baton.contended()) {  // guests first
    baton.unlock();
    baton.lock();
  }
  steps.fetch_add(1, std::memory_order_relaxed);
  Participant* const next = pick();
  if (next == me) return;
  if (next != nullptr)
    next->gate.open();
  else
    ended_.open();
  me->gate.wait();
}

void Scheduler::pass() {
  Participant* const me = self_of_thread;
  me->polls = 0;
  // Mostly the thread goes on, which is far cheaper; often enough it does not.
  if (!me->over && !baton.contended() && sim::options().schedule == Schedule::late && !one_in(4))
    return;
  hand_over(me);
}

void Scheduler::poll() {
  Participant* const me = self_of_thread;
  if (++me->polls > patience || me->over) {
    block(nullptr, nullptr, now + nap);
    return;
  }
  me->state = State::polling;
  hand_over(me);
  me->state = State::runnable;
}

bool Scheduler::block(const std::function<bool()>* done, const std::function<std::string()>* what,
                      double until) {
  Participant* const me = self_of_thread;
  if (done != nullptr && (*done)()) return true;
  if (me->over || over) {
    ++me->over_waits;
    if (me->gave_up()) abandon(me);
    hand_over(me);  // it stays runnable
    if (until != never) now = std::max(now, until);
    return done != nullptr && (*done)();
  }
  me->done = done;
  me->what = what;
  me->until = until;
  me->state = State::blocked;
  hand_over(me);
  me->state = State::runnable;
  me->done = nullptr;
  me->what = nullptr;
  const bool woken = done != nullptr && (*done)();
  if (woken) progress();
  return woken;
}

void Scheduler::stop() {
  Participant* const me = self_of_thread;
  for (auto& other : all_)
    if (other->rank == me->rank && other->state != State::finished) other->state = State::stopped;
  progress();
  hand_over(me);
}

void Scheduler::abandon(Participant* me) {
  me->state = State::finished;
  Participant* const next = pick();
  if (next != nullptr)
    next->gate.open();
  else
    ended_.open();
  Gate parked;
  for (;;) parked.wait();
}

Participant* Scheduler::pick_among(std::vector<Participant*>& list) {
  return list[choose(list.size())];
}

/// Who runs next; runs device work meanwhile. Null: all have finished.
Participant* Scheduler::pick() {
  for (;;) {
    if (sim::options().schedule == Schedule::eager)
      while (device_step()) progress();
    ready_.clear();
    polling_.clear();
    bool alive = false;
    for (auto& p : all_) {
      alive = alive || (p->state != State::finished && p->state != State::stopped);
      if (p->state == State::runnable) ready_.push_back(p.get());
      if (p->state == State::polling) polling_.push_back(p.get());
      if (p->state == State::blocked &&
          (over || now >= p->until || (p->done != nullptr && (*p->done)())))
        ready_.push_back(p.get());
    }
    if (!alive) {
      if (!wake_the_stopped()) return nullptr;
      continue;
    }
    const std::size_t work = over ? 0 : fronts();
    if (sim::options().schedule == Schedule::random && work != 0) {
      if (choose(ready_.size() + polling_.size() + work) < work && device_step()) {
        progress();
        continue;
      }
    } else if (work != 0 && ready_.empty() ? polling_.empty() || one_in(2) : one_in(32)) {
      if (work != 0 && device_step()) {
        progress();
        continue;
      }
    }
    if (!ready_.empty()) return pick_among(ready_);
    if (!polling_.empty()) return pick_among(polling_);
    if (work != 0 && device_step()) {
      progress();
      continue;
    }
    if (!jump() && !wake_followers()) declare_deadlock();
  }
}

/// All wait: to the time at which the first of them wakes. False if there is none, or if that has
/// led to nothing for too long.
bool Scheduler::jump() {
  double next = next_deadline_of_fronts();
  for (const auto& p : all_)
    if (p->state == State::blocked) next = std::min(next, p->until);
  if (next == never || now - last_progress_ > sim::options().deadline_s) return false;
  now = std::max(now, next);
  // A wait of minutes in naps of milliseconds: ever larger leaps, up to ten seconds.
  if (++jumps_ > patience) now += std::min(10.0, 1e-3 * std::pow(1.1, jumps_ - patience));
  return true;
}

bool Scheduler::wake_the_stopped() {
  bool any = false;
  for (auto& p : all_) {
    if (p->state != State::stopped) continue;
    p->state = State::runnable;
    p->over = true;
    any = true;
  }
  return any;
}

bool Scheduler::wake_followers() {
  bool any = false;
  for (auto& p : all_) {
    const bool follows = std::any_of(all_.begin(), all_.end(),
                                     [&](const auto& q) { return q->over && q->rank == p->rank; });
    if (!follows || p->over || p->state != State::blocked) continue;
    p->state = State::runnable;
    p->over = true;
    any = true;
  }
  return any;
}

void Scheduler::declare_deadlock() {
  deadlock = report();
  over = true;
}

std::string Scheduler::report() const {
  std::string text;
  for (const auto& p : all_) {
    text += "rank " + std::to_string(p->rank) + (p->helper ? " (a thread it started)" : "") + ": ";
    if (p->state == State::finished) {
      text += "has ended\n";
    } else if (p->state == State::stopped) {
      text += std::string("stopped for good in ") + p->where + "\n";
    } else {
      text += std::string("in ") + (*p->where != '\0' ? p->where : "its own code");
      if (p->what != nullptr) text.append("(").append((*p->what)()).append(")");
      text += p->done == nullptr && p->until == never ? ", runs\n" : ", waits\n";
    }
  }
  return text + report_of_fronts();
}

}  // namespace sim
