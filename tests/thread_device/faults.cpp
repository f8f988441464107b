// One CUDA call after another fails, or is a rank's last: every rank gets an error or a right
// result, and none waits for ever.
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "thread_device/support.hpp"

using namespace thread_device;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t n = 24;
constexpr int ranks = 3;

struct Outcome {
  std::array<std::string, ranks> errors;  // empty if the rank completed
  std::int64_t failed() const {
    return ranks - std::count(errors.begin(), errors.end(), std::string());
  }
};

struct Buffers {
  Data<float> in{n}, out{n}, all{n * ranks};
};

/// Eager calls, a captured one and its launches, with results compared.
void work(Comm& comm, const Place& at, Buffers& buffers) {
  auto& [in, out, all] = buffers;
  const auto calls = [&] {
    comm.all_gather(in.data(), all.data(), n, at.stream.get());
    comm.all_reduce(in.data(), out.data(), n, at.stream.get());
  };
  in.set(sent<float>(at.rank, n, 1), at.stream);
  calls();
  Graph graph(at.stream, calls);
  in.set(sent<float>(at.rank, n, 2), at.stream);
  graph.launch(at.stream);
  comm.synchronize(at.stream.get());
  same(out.now(at.stream), summed<float>(ranks, 0, n, 2), "sum");
  same(all.now(at.stream), gathered<float>(ranks, n, 2), "all");
}

/// A wrong result, or a run that only the simulation could end, is thrown on.
Outcome run(std::vector<sim::Fault> faults, std::uint64_t seed) {
  Outcome outcome;
  const int stopped = !faults.empty() && faults[0].stops ? faults[0].rank : -1;
  struct Quiet {
    dpgather::DestructorErrorHandler before = std::exchange(
        dpgather::destructor_error_handler(), +[](const char*) noexcept {});
    ~Quiet() { dpgather::destructor_error_handler() = before; }
  } const quiet;
  // A rank that stopped may have left a kernel behind, which reads its peers' buffers when it can.
  std::vector<std::shared_ptr<Buffers>> kept;
  try {
    on_ranks({.world = {.ranks = ranks, .devices = 2, .seed = seed, .faults = std::move(faults)},
              .deadline = milliseconds(400)},
             [&](Comm& comm, const Place& at) {
               try {
                 const auto buffers = std::make_shared<Buffers>();
                 if (stopped >= 0) kept.push_back(buffers);
                 work(comm, at, *buffers);
               } catch (const std::exception& error) {
                 outcome.errors[static_cast<std::size_t>(at.rank)] = error.what();
                 throw;
               }
             });
  } catch (const sim::Deadlock&) {
    // The communicator of a rank that stopped never goes, hence nor does the thread that frees
    // streams: it may be all that is left.
    for (int rank = 0; rank < ranks; ++rank)
      if (rank != stopped && sim::last_report().deadlock.find(
                                 concat("rank ", rank, ": has ended")) == std::string::npos)
        throw;
  } catch (const Wrong& error) {
    // Calls that the test makes itself fail as well.
    const std::string text = error.what();
    if (text.find(": cudaError") == std::string::npos) throw;
  } catch (const std::exception&) {
  }
  return outcome;
}

std::vector<std::int64_t> calls_of_ranks() {
  REQUIRE(run({}, 1).failed() == 0);
  std::vector<std::int64_t> calls;
  for (const auto& rank : sim::last_report().ranks) calls.push_back(rank.calls);
  return calls;
}

}  // namespace

TEST_CASE("a fault at any call ends on all ranks with an error or a right result") {
  const auto calls = calls_of_ranks();
  std::int64_t told = 0;
  for (int rank = 0; rank < ranks; ++rank)
    for (std::int64_t call = 0; call < calls[static_cast<std::size_t>(rank)]; ++call) {
      CAPTURE(rank);
      CAPTURE(call);
      Outcome outcome;
      REQUIRE_NOTHROW(outcome = run({{.rank = rank, .call = call}}, 1));
      told += outcome.failed();
    }
  CHECK(told > 100);
}

// The thread that frees streams for a rank that never ends is a leak in the eyes of one sanitizer.
#if defined(__SANITIZE_THREAD__)
constexpr bool counts_threads = true;
#else
constexpr bool counts_threads = false;
#endif

TEST_CASE("a rank that stops for good at any call leaves nobody waiting for ever" *
          doctest::skip(counts_threads)) {
  const auto calls = calls_of_ranks();
  for (int rank = 0; rank < ranks; ++rank)
    for (std::int64_t call = 0; call < calls[static_cast<std::size_t>(rank)]; ++call) {
      CAPTURE(rank);
      CAPTURE(call);
      REQUIRE_NOTHROW(run({{.rank = rank, .call = call, .stops = true}}, 1));
    }
}
