// A run: rank threads from a pool, and what is said and done at the end.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include <dpgather/comm/thread/run_ranks.hpp>

#include "sim/internal.hpp"
#include "sim/memory.hpp"
#include "sim/scheduler.hpp"

namespace sim {

void set_options(const Options& options);

namespace {

/// A thread that plays ranks, one a run. Detached: it waits for the next run until the end.
struct Worker {
  Gate start;
  Participant* participant = nullptr;
  const std::function<void(int)>* body = nullptr;
  std::exception_ptr* error = nullptr;
  int* order = nullptr;  // of the errors
  int* next_order = nullptr;

  [[noreturn]] void serve() {
    for (;;) {
      start.wait();
      Participant* const me = participant;
      forget_thread_state();
      Scheduler::get().enter(me);
      std::optional<DeviceAccess> access;
      // Without rights of threads, guarding takes two system calls a piece of work, each over all
      // pages: ten times as long.
      if (!options().guard_device_memory || !Memory::get().threads_have_rights()) access.emplace();
      try {
        (*body)(me->rank);
      } catch (...) {
        if (!me->over) {  // what a rank that has stopped for good throws while it unwinds is no error
          *error = std::current_exception();
          *order = (*next_order)++;
        }
      }
      access.reset();
      Scheduler::get().leave(me);
    }
  }
};

/// Takes an idle worker, or makes one.
Worker& idle_worker(std::vector<Worker*>& idle) {
  if (idle.empty()) {
    auto* const worker = new Worker;  // as long-lived as its thread
    std::thread([worker] { worker->serve(); }).detach();
    return *worker;
  }
  Worker& worker = *idle.back();
  idle.pop_back();
  return worker;
}

/// The run's threads hand the baton on among themselves. If it does not move for long (a thread
/// that computes, or waits for what the simulation does not know) that is the end of the program.
void wait_for_end(Scheduler& scheduler) {
  constexpr int limit_s = 120;
  std::uint64_t seen = 0;
  for (int quiet = 0; !scheduler.wait_for_end(1000); ++quiet) {
    const std::uint64_t steps = scheduler.steps.load();
    if (steps != seen) quiet = 0;
    seen = steps;
    if (quiet < limit_s) continue;
    std::fprintf(stderr, "sim: a thread has kept the baton for %d s (seed %llu)\n%s\n", limit_s,
                 static_cast<unsigned long long>(options().seed), scheduler.report().c_str());
    std::abort();
  }
}

std::string join(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

}  // namespace

Report run(const Options& options, const std::function<void(int)>& body) {
  static std::mutex one_at_a_time;
  static std::vector<Worker*> idle;
  const std::lock_guard lock(one_at_a_time);
  Scheduler& scheduler = Scheduler::get();
  const auto ranks = static_cast<std::size_t>(options.ranks);
  scheduler.baton.lock();
  reset_all();
  set_options(options);
  report_now() = Report{};
  report_now().ranks.resize(ranks);
  scheduler.begin(options);

  std::vector<std::exception_ptr> errors(ranks);
  std::vector<int> order(ranks, options.ranks);
  int next_order = 0;
  std::vector<Worker*> workers;
  for (std::size_t r = 0; r < ranks; ++r) {
    Worker& worker = idle_worker(idle);
    worker.participant = scheduler.add(static_cast<int>(r), false);
    worker.body = &body;
    worker.error = &errors[r];
    worker.order = &order[r];
    worker.next_order = &next_order;
    worker.start.open();
    workers.push_back(&worker);
  }
  scheduler.start();
  wait_for_end(scheduler);

  Report& report = report_now();
  const bool stops =
      std::any_of(options.faults.begin(), options.faults.end(), [](auto& f) { return f.stops; });
  if (scheduler.deadlock.empty() && !stops) {
    while (device_step()) {
    }
    if (fronts() != 0) report.leaks.push_back("work that never ran: " + report_of_fronts());
    leaks_of_streams(report.leaks);
    leaks_of_graphs(report.leaks);
    leaks_of_memory(report.leaks);
    leaks_of_mappings(report.leaks);
  }
  check_guards();
  report.deadlock = scheduler.deadlock;
  report.virtual_s = scheduler.now;
  for (std::size_t r = 0; r < ranks; ++r)
    if (!workers[r]->participant->gave_up()) idle.push_back(workers[r]);
  reset_all();
  scheduler.end();
  scheduler.baton.unlock();

  const auto seed = " (seed " + std::to_string(options.seed) + ")";
  if (!report.deadlock.empty()) throw Deadlock("deadlock" + seed + "\n" + report.deadlock);
  std::vector<std::exception_ptr> in_order(ranks);
  for (std::size_t r = 0; r < ranks; ++r)
    if (order[r] < options.ranks) in_order[static_cast<std::size_t>(order[r])] = errors[r];
  dpgather::detail::rethrow_root_cause(in_order);  // before "a peer failed", what failed there
  if (!report.violations.empty()) throw Violation(join(report.violations) + seed);
  return report;
}

}  // namespace sim
