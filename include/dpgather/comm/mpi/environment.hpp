// MPI_Init and MPI_Finalize as one object.
#pragma once

#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>

#include <dpgather/comm/mpi/api.hpp>

namespace dpgather {

/// Initialises MPI for one calling thread a process (MPI_THREAD_FUNNELED) and finalizes it when
/// destroyed. Make it first in main, so that communicators and buffers go before it. When an
/// exception unwinds past it, it calls MPI_Abort instead: peers that wait for this rank end too,
/// and never hang. The process is gone then before an outer handler can print, hence `run`.
class MpiEnvironment {
 public:
  MpiEnvironment() : MpiEnvironment(nullptr, nullptr) {}
  MpiEnvironment(int& argc, char**& argv) : MpiEnvironment(&argc, &argv) {}
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;
  ~MpiEnvironment() {
    if (!mpi::usable()) return;
    if (std::uncaught_exceptions() > exceptions_)
      MPI_Abort(MPI_COMM_WORLD, 1);
    else
      MPI_Finalize();
  }

  /// Returns `main_of_rank()`. An exception is printed with its rank and ends all ranks.
  template <class Main>
  auto run(const Main& main_of_rank) const -> decltype(main_of_rank()) {
    try {
      return main_of_rank();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rank %d: %s\n", mpi::rank_of(MPI_COMM_WORLD), error.what());
      std::fflush(stderr);
      // MPI_Abort kills: the rank that failed of its own accord gets a second to print why.
      if (dynamic_cast<const PeerError*>(&error) != nullptr)
        std::this_thread::sleep_for(std::chrono::seconds(1));
      MPI_Abort(MPI_COMM_WORLD, 1);
      throw;
    }
  }

 private:
  MpiEnvironment(int* argc, char*** argv) : exceptions_(std::uncaught_exceptions()) {
    int started = 0;
    MPI_Initialized(&started);
    require(started == 0, {.operation = "MpiEnvironment"}, "MPI was initialised already");
    int provided = MPI_THREAD_SINGLE;
    mpi::check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    if (provided >= MPI_THREAD_FUNNELED) return;
    MPI_Finalize();
    throw MpiError({.operation = "MpiEnvironment"},
                   "this MPI does not support MPI_THREAD_FUNNELED");
  }

  int exceptions_;
};

}  // namespace dpgather
