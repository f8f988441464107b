// Runs a function on every rank, each in a thread of its own.
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include <dpgather/comm/thread/thread_comm.hpp>

namespace dpgather {

namespace detail {

/// The error that explains the others: the first that is not "a peer failed", else the first.
inline void rethrow_root_cause(const std::vector<std::exception_ptr>& errors) {
  std::exception_ptr chosen;
  for (const auto& error : errors) {
    if (!error) continue;
    if (!chosen) chosen = error;
    try {
      std::rethrow_exception(error);
    } catch (const PeerError&) {
    } catch (...) {
      std::rethrow_exception(error);
    }
  }
  if (chosen) std::rethrow_exception(chosen);
}

}  // namespace detail

/// Calls `f(rank)` in `ranks` threads and waits for all. Then throws the error of the rank that
/// failed first of its own accord. Communicators made inside `f` free the peers of a rank that
/// throws.
template <std::invocable<int> F>
void run_ranks(int ranks, F f) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  threads.reserve(errors.size());
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&f, &error = errors[static_cast<std::size_t>(rank)], rank] {
      try {
        f(rank);
      } catch (...) {
        error = std::current_exception();
      }
    });
  for (auto& thread : threads) thread.join();
  detail::rethrow_root_cause(errors);
}

/// As above, with `f(comm)` on a ThreadComm of `ranks` ranks; a rank that throws passes on its
/// reason.
template <std::invocable<ThreadComm<>&> F>
void run_ranks(int ranks, F f) {
  const auto hub = std::make_shared<ThreadHub>(ranks);
  run_ranks(ranks, [&](int rank) {
    ThreadComm<> comm(hub, rank);
    try {
      f(comm);
    } catch (const std::exception& error) {
      comm.abort(error.what());
      throw;
    }
  });
}

}  // namespace dpgather
