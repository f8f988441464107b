// Inside the world: participants, the baton, virtual time. Only for the simulation's own sources.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <pthread.h>

#include "sim/world.hpp"

namespace sim {

/// A lock that is first come, first served and that any thread may release: the baton between
/// guests and the ranks of a run, who hold it together.
class TicketLock {
 public:
  void lock();
  void unlock();
  [[nodiscard]] bool contended() const { return next_.load() > serving_.load() + 1; }

 private:
  std::atomic<std::uint32_t> next_{0}, serving_{0};
};

/// What a thread can be stopped at and woken by, in the kernel itself.
class Gate {
 public:
  void open();
  void wait();  // until opened, then shuts it
  /// False after about `ms` without having been opened.
  bool wait_for(int ms);

 private:
  std::atomic<std::uint32_t> word_{0};
};

inline constexpr double never = std::numeric_limits<double>::infinity();

/// A thread that takes part in a run: a rank's, or one that it started.
struct Participant {
  enum class State { runnable, polling, blocked, stopped, finished };
  int rank = -1;
  bool helper = false;
  State state = State::runnable;
  const std::function<bool()>* done = nullptr;         // while blocked; null: only time wakes
  const std::function<std::string()>* what = nullptr;  // while blocked
  double until = never;                                // while blocked
  const char* where = "";                              // last call
  int polls = 0;                                       // in a row
  bool over = false;                                   // lives on only to unwind
  int over_waits = 0;
  pthread_t handle = {};
  Gate gate;

  static constexpr int over_patience = 2000;  // waits after the end before it is given up
  [[nodiscard]] bool gave_up() const { return over_waits > over_patience; }
};

class Scheduler {
 public:
  static Scheduler& get();

  // A run.
  void begin(const Options& options);
  Participant* add(int rank, bool helper);
  void start();                 // hands the baton to somebody; from the thread that began the run
  bool wait_for_end(int ms);    // from the same thread
  void enter(Participant* me);  // on its own thread: waits for the baton
  void leave(Participant* me);  // its function has returned: passes the baton on for good
  void end();
  [[nodiscard]] bool running() const { return running_; }

  // On a thread with the baton. `self()` is null on guests.
  static Participant* self();
  void pass();  // scheduling point of a runnable participant
  void poll();  // the same, and it asks for something that may need others to move
  /// False: the time came, or the world ended.
  bool block(const std::function<bool()>* done, const std::function<std::string()>* what,
             double until);
  void stop();  // this rank never runs again, save to unwind at the end
  void progress();

  TicketLock baton;
  std::mt19937_64 random;
  double now = 0;
  bool over = false;  // deadlock
  std::string deadlock;
  std::atomic<std::uint64_t> steps{0};
  [[nodiscard]] std::string report() const;

 private:
  void hand_over(Participant* me);
  Participant* pick();
  Participant* pick_among(std::vector<Participant*>& list);
  bool jump();
  void declare_deadlock();
  void abandon(Participant* me);
  bool wake_the_stopped();
  /// Threads that a rank started go the way of the rank: what they wait for may be its to do.
  bool wake_followers();

  std::vector<std::unique_ptr<Participant>> all_;
  std::vector<std::unique_ptr<Participant>> abandoned_;  // parked for ever, still looked at
  std::vector<Participant*> ready_, polling_;            // scratch of pick
  double last_progress_ = 0;
  int jumps_ = 0;
  std::atomic<bool> running_{false};
  Gate ended_;
};

/// Work on devices, as the scheduler sees it (device.cpp).
std::size_t fronts();
/// Runs (a slice of) one enabled piece of work; false if there is none.
bool device_step();
std::string report_of_fronts();
/// When the first that has a deadline meets it; `never` if none has.
double next_deadline_of_fronts();

/// This thread is running device work: waits are real, and no call is allowed.
bool in_device_work();

}  // namespace sim
