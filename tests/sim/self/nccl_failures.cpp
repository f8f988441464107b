// Injected errors, aborts, remote errors; and what is counted.
#include <cmath>
#include <thread>

#include "sim/self/nccl_support.hpp"

namespace {

using namespace self;

ncclResult_t started(ncclResult_t result) {
  return result == ncclInProgress ? ncclSuccess : result;
}

TEST_CASE("an aborted rank's buffers are undefined, its peer waits until it aborts as well") {
  run(of(2), With::non_blocking, [](World& world) {
    good(started(world.reduce()));
    good(settle(world.comm));
    good(cudaStreamSynchronize(world.stream));
    if (world.rank == 0) {
      good(started(world.reduce(8)));  // alone
      good(settle(world.comm));
      expect(cudaStreamQuery(world.stream) == cudaErrorNotReady, "waits");
    }
    good(ncclCommAbort(std::exchange(world.comm, nullptr)));
    const auto host = world.host();
    for (std::size_t i = 0; i < World::floats; ++i)
      expect(world.rank == 0 && i < 8 ? std::isnan(host[i]) : host[i] == 2.0f,
             "element " + std::to_string(i));
  });
}

TEST_CASE("a peer of an aborted rank waits for ever if it does not abort") {
  const auto text = deadlock_of(of(2), With::non_blocking, [](World& world) {
    if (world.rank == 1) good(ncclCommAbort(std::exchange(world.comm, nullptr)));
    if (world.rank == 0) {
      good(started(world.reduce()));
      good(settle(world.comm));
    }
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"rank 1: has left"});
}

TEST_CASE("peers of an aborted rank see a remote error where they are told") {
  const sim::nccl::WithOptions told({.remote_errors = true});
  run(of(2), With::non_blocking, [](World& world) {
    if (world.rank == 0) {
      good(started(world.reduce()));
      ncclResult_t state = ncclSuccess;
      while (state == ncclSuccess || state == ncclInProgress)
        good(ncclCommGetAsyncError(world.comm, &state));
      expect(state == ncclRemoteError, ncclGetErrorString(state));
      expect(world.reduce() == ncclRemoteError, "later calls say so, too");
    }
    good(ncclCommAbort(std::exchange(world.comm, nullptr)));
    good(cudaStreamSynchronize(world.stream));
  });
}

TEST_CASE("where ranks of a process end together, destroy and abort wait for each other") {
  const sim::nccl::WithOptions together({.ends_together = true});
  run(of(3), With::non_blocking, [](World& world) {
    good((world.rank == 0 ? ncclCommAbort : ncclCommDestroy)(std::exchange(world.comm, nullptr)));
  });
  const auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    if (world.rank == 0) good(ncclCommDestroy(std::exchange(world.comm, nullptr)));
    world.comm = nullptr;
  });
  check_contains(text, {"ncclCommDestroy of comm 1 rank 0 of 2 waits for its peers"});
}

TEST_CASE("another thread's abort ends a blocking initialisation") {
  ncclUniqueId id;
  good(ncclGetUniqueId(&id));
  run(of(2), With::nothing, [&](World& world) {
    if (world.rank == 1) return;  // never joins
    ncclComm_t comm = nullptr;
    std::thread watchdog([&] {
      while (comm == nullptr) std::this_thread::yield();
      good(ncclCommAbort(comm));
    });
    const ncclResult_t result = ncclCommInitRank(&comm, 2, id, 0);
    watchdog.join();
    expect(result == ncclInternalError, ncclGetErrorString(result));
  });
}

TEST_CASE("an asynchronous error comes with the poll that was asked for, and stays") {
  const sim::nccl::WithOptions failing({.async_errors = {{1, 40, ncclSystemError}}});
  run(of(2), With::non_blocking, [](World& world) {
    ncclResult_t state = ncclSuccess;
    for (int i = 0; i < 60; ++i) good(ncclCommGetAsyncError(world.comm, &state));
    expect(state == (world.rank == 1 ? ncclSystemError : ncclSuccess), "state");
    if (world.rank == 1) {
      int n = 0;
      expect(ncclCommCount(world.comm, &n) == ncclSystemError, "count");
      expect(ncclCommDestroy(world.comm) == ncclSystemError, "destroy");
    }
    good(ncclCommAbort(std::exchange(world.comm, nullptr)));
  });
}

TEST_CASE("a collective issued too early is refused and is the communicator's error from then on") {
  run(of(2), With::non_blocking, [](World& world) {
    good(started(world.reduce()));
    int n = 0;
    expect(ncclCommCount(world.comm, &n) == ncclInvalidArgument, "count: no harm");
    expect(world.reduce() == ncclInvalidArgument, "all-reduce");
    check_contains(ncclGetLastError(world.comm), {"poll ncclCommGetAsyncError first"});
    expect(settle(world.comm) == ncclInvalidArgument, "stays");
    good(ncclCommAbort(std::exchange(world.comm, nullptr)));
  });
}

TEST_CASE("every call can be made to fail, without effect, and nothing hangs") {
  // Blocking, so that each failure is seen at its own call.
  const auto body = [](World& world) {
    const ncclResult_t first = world.reduce();
    static_cast<void>(ncclGroupStart());
    const ncclResult_t second = world.reduce(8);
    const ncclResult_t end = ncclGroupEnd();
    // A rank that fails tells the others by aborting.
    if (first != ncclSuccess || second != ncclSuccess || end != ncclSuccess)
      throw std::logic_error("failed");
  };
  const auto whole = run(of(2), With::blocking, body);
  const auto calls = whole.ranks[0].calls;
  CHECK(calls > 8);
  int seen = 0;
  for (std::int64_t call = 0; call < calls; ++call) {
    sim::Options options = of(2);
    options.faults = {{.rank = 0, .call = call, .nccl = ncclInternalError}};
    try {
      run(options, With::blocking, body);
      FAIL("the failure of call ", call, " went unseen");
    } catch (const sim::Deadlock&) {
      ++seen;  // rank 1 waits for rank 0, which has left
    } catch (const std::logic_error&) {
      ++seen;
    }
  }
  CHECK(seen == calls);
}

TEST_CASE("an error injected into a group's call or end drops the group") {
  run(of(1), With::blocking, [](World& world) { good(world.reduce()); });
  const auto& log = sim::last_report().ranks[0].log;
  std::int64_t first = 0;
  while (std::string(log[static_cast<std::size_t>(first)]) != "ncclAllReduce") ++first;
  for (const int which : {1, 2}) {  // behind ncclGroupStart
    sim::Options options = of(1);
    options.faults = {{.rank = 0, .call = first + which, .nccl = ncclSystemError}};
    run(options, With::blocking, [which](World& world) {
      good(ncclGroupStart());
      expect(world.reduce() == (which == 1 ? ncclSystemError : ncclSuccess), "in the group");
      expect(ncclGroupEnd() == ncclSystemError, "its end");
      good(world.reduce());  // not in a group any more
      good(cudaStreamSynchronize(world.stream));
      expect(sim::nccl::launches(0) == 1, "one launch in all");
    });
  }
}

TEST_CASE("a failed destroy or abort has let go of the communicator") {
  const auto whole = run(of(1), With::blocking, [](World&) {});
  std::int64_t destroy = 0;
  while (std::string(whole.ranks[0].log[static_cast<std::size_t>(destroy)]) != "ncclCommDestroy")
    ++destroy;
  sim::Options options = of(1);
  options.faults = {{.rank = 0, .call = destroy, .nccl = ncclInternalError}};
  for (const bool abort : {false, true}) {
    const auto report = run(options, With::blocking, [abort](World& world) {
      const ncclComm_t comm = std::exchange(world.comm, nullptr);
      expect((abort ? ncclCommAbort : ncclCommDestroy)(comm) == ncclInternalError, "injected");
    });
    CHECK(report.leaks.empty());
  }
}

TEST_CASE("operations are counted by rank and kind, captured ones at each launch") {
  using sim::nccl::counted;
  using sim::nccl::Kind;
  run(of(2), With::blocking, [](World& world) {
    const auto work = [&] {
      good(ncclGroupStart());
      for (int r = 0; r < 2; ++r)
        good(ncclBroadcast(world.data + 8 * r, world.data + 8 * r, 8, ncclFloat, r, world.comm,
                           world.stream));
      good(ncclGroupEnd());
      good(world.reduce(4));
    };
    work();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    good(cudaStreamBeginCapture(world.stream, cudaStreamCaptureModeThreadLocal));
    work();
    good(cudaStreamEndCapture(world.stream, &graph));
    good(cudaGraphInstantiateWithFlags(&exec, graph, 0));
    for (int i = 0; i < 3; ++i) good(cudaGraphLaunch(exec, world.stream));
    good(cudaStreamSynchronize(world.stream));
    good(cudaGraphExecDestroy(exec));
    good(cudaGraphDestroy(graph));
  });
  for (int r = 0; r < 2; ++r) {
    CHECK(counted(r, Kind::broadcast).calls == 2 * 4);
    CHECK(counted(r, Kind::broadcast).bytes == 2 * 4 * 8 * sizeof(float));
    CHECK(counted(r, Kind::all_reduce).calls == 4);
    CHECK(counted(r, Kind::all_gather).calls == 0);
    CHECK(sim::nccl::launches(r) == 2 * 4);
    CHECK(sim::last_report().ranks[static_cast<std::size_t>(r)][sim::Count::collective] == 2 * 4);
  }
}

TEST_CASE("what is left over is a leak, by name") {
  const auto report = run(of(1), With::blocking, [](World& world) { world.comm = nullptr; });
  REQUIRE(report.leaks.size() == 1);
  CHECK(report.leaks[0] == "comm 1 rank 0 of 1");
  CHECK(sim::nccl::left_over() == report.leaks);
  run(of(1), With::blocking, [](World&) {});
  CHECK(sim::nccl::left_over().empty());
}

TEST_CASE("sums come in other orders where that is asked for, the same on all ranks") {
  // 1e8 + 1 - 1e8 and so on: the order shows.
  const auto sums = [](bool reorder) {
    const sim::nccl::WithOptions options({.reorder_sums = reorder});
    std::vector<float> of_rank(3);
    std::vector<float> seen;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      run(of(3, seed), With::blocking, [&](World& world) {
        const float values[] = {1e8f, 1.0f, -1e8f};
        good(cudaMemcpy(world.data, &values[world.rank], sizeof(float), cudaMemcpyHostToDevice));
        good(world.reduce(1));
        of_rank[static_cast<std::size_t>(world.rank)] = world.host()[0];
      });
      CHECK(of_rank[0] == of_rank[1]);
      CHECK(of_rank[0] == of_rank[2]);
      seen.push_back(of_rank[0]);
    }
    return seen;
  };
  const auto in_order = sums(false);
  CHECK(in_order == std::vector<float>(20, 0.0f));
  const auto reordered = sums(true);
  CHECK(reordered != in_order);
}

TEST_CASE("the same seed gives the same schedule") {
  const auto once = [](std::uint64_t seed) {
    run(of(4, seed), With::non_blocking, [](World& world) {
      for (int i = 0; i < 3; ++i) {
        good(started(world.reduce()));
        good(settle(world.comm));
      }
    });
    std::vector<std::int64_t> calls;
    for (const auto& rank : sim::last_report().ranks) calls.push_back(rank.calls);
    return calls;
  };
  CHECK(once(7) == once(7));
  bool other = false;
  for (std::uint64_t seed = 8; seed < 12; ++seed) other = other || once(seed) != once(7);
  CHECK(other);
}

// A missing event wait shows: the collective reads what is there when it runs.
TEST_CASE("a collective that does not wait for another stream's work reads too early") {
  bool any = false;
  for (std::uint64_t seed = 1; seed < 30 && !any; ++seed)
    run(of(2, seed), With::blocking, [&](World& world) {
      cudaStream_t other = nullptr;
      good(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
      good(cudaMemsetAsync(world.data, 0, World::floats * sizeof(float), other));
      good(world.reduce());  // no event in between
      for (const float element : world.host()) any = any || element != 0.0f;
      good(cudaStreamDestroy(other));
    });
  CHECK(any);
}

}  // namespace
