#include "world.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "common/pin.hpp"

#ifdef GATHER_PERF_MPI
#include <dpgather/comm/mpi/api.hpp>
#endif

namespace gather_perf {

#ifdef GATHER_PERF_MPI

namespace {

/// Started by a launcher: without one, MPI_Init costs and brings nothing.
bool launched() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMI_SIZE") != nullptr ||
         std::getenv("PMIX_RANK") != nullptr;
}

}  // namespace

Processes::Processes(int& argc, char**& argv) : of_mpirun_(launched()) {
  if (!of_mpirun_) return;
  int provided = MPI_THREAD_SINGLE;
  dpgather::mpi::check(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided),
                       "MPI_Init_thread");
  rank_ = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  size_ = dpgather::mpi::size_of(MPI_COMM_WORLD);
}
Processes::~Processes() {
  if (of_mpirun_) MPI_Finalize();
}
double Processes::share(double value) const {
  if (size_ == 1) return value;
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibcast(&value, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD, &request);
  for (int done = 0; done == 0;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return value;
}
double Processes::add(double value) const {
  if (size_ == 1) return value;
  double sum = 0;
  MPI_Allreduce(&value, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  return sum;
}
void Processes::meet() const {
  if (size_ > 1) MPI_Barrier(MPI_COMM_WORLD);
}
void Processes::give_up(int rank, const char* reason) const {
  std::fprintf(stderr, "gather_perf: rank %d: %s\n", rank, reason);
  std::fflush(stderr);
  if (of_mpirun_) MPI_Abort(MPI_COMM_WORLD, 1);
  std::_Exit(1);
}

#else

Processes::Processes(int&, char**&) {}
Processes::~Processes() = default;
double Processes::share(double value) const {
  return value;
}
double Processes::add(double value) const {
  return value;
}
void Processes::meet() const {}
void Processes::give_up(int rank, const char* reason) const {
  std::fprintf(stderr, "gather_perf: rank %d: %s\n", rank, reason);
  std::fflush(stderr);
  std::_Exit(1);
}

#endif

double World::time(const std::function<void(int)>& before, const std::function<void(int)>& f) {
  const double all = sum([&](int rank) {
    meet();
    before(rank);
    const auto start = std::chrono::steady_clock::now();
    f(rank);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  });
  return all / ranks();
}

double ProcessWorld::sum(const std::function<double(int)>& f) {
  double own = 0;
  const bench::Pinned here(processes_.rank(), pins_);
  try {
    own = f(processes_.rank());
  } catch (const std::exception& error) {
    processes_.give_up(processes_.rank(), error.what());
  }
  return processes_.add(own);
}

ThreadWorld::ThreadWorld(const Processes& processes, int ranks, bool pins)
    : World(processes, pins), ranks_(ranks), met_(ranks) {
  if (processes.rank() != 0) return;
  for (int rank = 0; rank < ranks; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
}

ThreadWorld::~ThreadWorld() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  asked_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

double ThreadWorld::sum(const std::function<double(int)>& f) {
  double total = 0;
  if (!threads_.empty()) {
    std::unique_lock lock(mutex_);
    task_ = &f;
    busy_ = ranks_;
    total_ = 0;
    ++round_;
    asked_.notify_all();
    answered_.wait(lock, [&] { return busy_ == 0; });
    total = total_;
  }
  return processes_.share(total);
}

void ThreadWorld::serve(int rank) {
  const bench::Pinned here(rank, pins_);
  for (std::uint64_t done = 0;;) {
    const std::function<double(int)>* task = nullptr;
    {
      std::unique_lock lock(mutex_);
      asked_.wait(lock, [&] { return ended_ || round_ != done; });
      if (ended_) return;
      done = round_;
      task = task_;
    }
    double own = 0;
    try {
      own = (*task)(rank);
    } catch (const std::exception& error) {
      processes_.give_up(rank, error.what());
    }
    const std::lock_guard lock(mutex_);
    total_ += own;
    if (--busy_ == 0) answered_.notify_all();
  }
}

}  // namespace gather_perf
