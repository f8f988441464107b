// Starts the ranks of a run, as threads or as processes, each with its control plane and its barriers.
#pragma once

#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dpgather/comm/shared_memory_control.hpp>
#include <dpgather/comm/thread.hpp>

#include "common/pin.hpp"
#include "measure.hpp"

namespace agree_latency {

enum class Plane { thread, shared_memory, shared_memory_threads, mpi };

/// Names of the barriers that a rank of `plane` has.
[[nodiscard]] inline std::vector<std::string> barriers_of(Plane plane) {
  if (plane == Plane::mpi) return {"MPI_Barrier"};
  if (plane == Plane::shared_memory) return {"counter"};
  return {"counter", "ThreadHub", "std::barrier"};
}

/// A name that no other segment of this host has.
inline std::string segment_name() {
  static int made = 0;
  return "/dpgather_agree_latency_" + std::to_string(getpid()) + "_" + std::to_string(++made);
}

/// A rank that fails ends the process: its peers may wait in a barrier that has no way out.
inline void run_threads(Plane plane, int ranks, bool pinned, const Plan& plan,
                        const Samples& samples) {
  const auto counter = std::make_unique<SharedCounter>();
  dpgather::ThreadHub hub(ranks);
  std::barrier<> standard(ranks);
  const auto board = std::make_shared<dpgather::ThreadControlBoard>(ranks);
  const std::string name = segment_name();
  dpgather::run_ranks(ranks, [&](int rank) {
    try {
      const bench::Pinned here(rank, pinned);
      CounterBarrier own(*counter, ranks);
      const Barriers barriers{{"counter", [&] { own(); }},
                              {"ThreadHub", [&] { hub.enter(rank, {.operation = "barrier"}); }},
                              {"std::barrier", [&] { standard.arrive_and_wait(); }}};
      if (plane == Plane::thread) {
        dpgather::ThreadControl control(board, rank);
        measure(control, barriers, plan, samples);
      } else {
        dpgather::SharedMemoryControl control(name, rank, ranks);
        measure(control, barriers, plan, samples);
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "agree_latency: rank %d: %s\n", rank, error.what());
      std::_Exit(1);
    }
  });
}

/// Memory that forked processes share.
class SharedPage {
 public:
  SharedPage() {
    void* memory = mmap(nullptr, sizeof(SharedCounter), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no shared memory for a barrier");
    counter_ = new (memory) SharedCounter;
  }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  ~SharedPage() { munmap(counter_, sizeof(SharedCounter)); }
  [[nodiscard]] SharedCounter& counter() const { return *counter_; }

 private:
  SharedCounter* counter_;
};

/// Forks ranks 1 ... `ranks` - 1; this process is rank 0. No thread may run.
inline void run_processes(int ranks, bool pinned, const Plan& plan, const Samples& samples) {
  const SharedPage page;
  const std::string name = segment_name();
  const auto run = [&](int rank) {
    try {
      const bench::Pinned here(rank, pinned);
      CounterBarrier own(page.counter(), ranks);
      dpgather::SharedMemoryControl control(name, rank, ranks);
      measure(control, {{"counter", [&] { own(); }}}, plan, samples);
    } catch (...) {
      page.counter().failed.store(1);
      throw;
    }
  };
  std::vector<pid_t> children;
  std::exception_ptr failure;
  std::fflush(nullptr);
  for (int rank = 1; rank < ranks && !failure; ++rank) {
    const pid_t process = fork();
    if (process < 0) {
      page.counter().failed.store(1);
      failure = std::make_exception_ptr(std::runtime_error("fork failed"));
    } else if (process > 0) {
      children.push_back(process);
    } else {
      try {
        run(rank);
        std::_Exit(0);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "agree_latency: rank %d: %s\n", rank, error.what());
        std::_Exit(1);
      }
    }
  }
  if (failure)
    for (const pid_t process : children) kill(process, SIGKILL);
  else
    try {
      run(0);
    } catch (...) {
      failure = std::current_exception();
    }
  for (const pid_t process : children) {
    int status = 0;
    waitpid(process, &status, 0);
    if (!failure && status != 0)
      failure = std::make_exception_ptr(std::runtime_error("a rank's process failed"));
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace agree_latency
