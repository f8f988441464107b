// What would hang on GPUs ends with a report that names each rank's call.
#include <atomic>
#include <thread>

#include <cuda.h>

#include "sim/self/nccl_support.hpp"

namespace {

using namespace self;

TEST_CASE("a rank that never comes is named") {
  const auto text = deadlock_of(of(3), With::blocking, [](World& world) {
    if (world.rank != 1) good(world.reduce());
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"rank 0: #0 all_reduce of 64 float sum; rank 1: has left; rank 2: #0 all"});
}

TEST_CASE("ranks that call with other counts, types, roots or operators never complete") {
  struct Case {
    std::function<void(World&)> call;
    std::initializer_list<const char*> parts;
  };
  const Case cases[] = {
      {[](World& w) { good(w.reduce(w.rank == 0 ? 4 : 5)); },
       {"rank 0: #0 all_reduce of 4 float sum; rank 1: #0 all_reduce of 5 float sum"}},
      {[](World& w) {
         good(ncclAllReduce(w.data, w.data, 4, w.rank == 0 ? ncclFloat : ncclInt32, ncclSum, w.comm,
                            w.stream));
       },
       {"of 4 float sum", "of 4 int32 sum"}},
      {[](World& w) {
         good(ncclAllReduce(w.data, w.data, 4, ncclFloat, w.rank == 0 ? ncclSum : ncclMax, w.comm,
                            w.stream));
       },
       {"float sum", "float max"}},
      {[](World& w) {
         good(ncclBroadcast(w.data, w.data, 4, ncclFloat, w.rank, w.comm, w.stream));
       },
       {"root 0", "root 1"}},
      {[](World& w) {
         if (w.rank == 0)
           good(w.reduce(4));
         else
           good(ncclAllGather(w.data + 4, w.data, 4, ncclFloat, w.comm, w.stream));
       },
       {"all_reduce of 4", "all_gather of 4"}},
  };
  for (const Case& c : cases) {
    const auto text = deadlock_of(of(2), With::blocking, [&](World& world) {
      c.call(world);
      good(cudaStreamSynchronize(world.stream));
    });
    check_contains(text, c.parts);
  }
}

TEST_CASE("a group in another order on one rank never completes") {
  const auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    good(ncclGroupStart());
    for (int i = 0; i < 2; ++i) {
      const int root = world.rank == 0 ? i : 1 - i;
      good(ncclBroadcast(world.data + 4 * root, world.data + 4 * root, 4, ncclFloat, root,
                         world.comm, world.stream));
    }
    good(ncclGroupEnd());
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"rank 0: #0 broadcast of 4 float root 0 + broadcast of 4 float root 1",
                        "rank 1: #0 broadcast of 4 float root 1 + broadcast of 4 float root 0"});
}

// Whether an operation is captured has to be the same on all ranks (user guide, CUDA graphs).
TEST_CASE("an operation that one rank captured and the other did not never completes") {
  const auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    good(world.reduce());
    cudaGraphExec_t exec = nullptr;
    if (world.rank == 0) {
      cudaGraph_t graph = nullptr;
      good(cudaStreamBeginCapture(world.stream, cudaStreamCaptureModeThreadLocal));
      good(world.reduce());
      good(cudaStreamEndCapture(world.stream, &graph));
      good(cudaGraphInstantiateWithFlags(&exec, graph, 0));
      good(cudaGraphLaunch(exec, world.stream));
    } else {
      good(world.reduce());
    }
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"sum (captured); rank 1: #1 all_reduce of 64 float sum"});
}

TEST_CASE("sends and receives that do not fit are named") {
  auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    if (world.rank == 0) good(ncclSend(world.data, 4, ncclFloat, 1, world.comm, world.stream));
    if (world.rank == 1) good(ncclRecv(world.data, 5, ncclFloat, 0, world.comm, world.stream));
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"rank 0: send of 4 float to 1, rank 1: recv of 5 float from 0"});
  text = deadlock_of(of(2), With::blocking, [](World& world) {
    if (world.rank == 0) good(ncclRecv(world.data, 4, ncclFloat, 1, world.comm, world.stream));
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"recv of 4 float from 1, rank 1: has not come"});
}

TEST_CASE("a send that needs a receive of the other rank first, without a group, never completes") {
  const auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    const int peer = 1 - world.rank;
    good(ncclSend(world.data, 4, ncclFloat, peer, world.comm, world.stream));
    good(ncclRecv(world.data + 4, 4, ncclFloat, peer, world.comm, world.stream));
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"send of 4 float to 1", "send of 4 float to 0"});
}

TEST_CASE("two ranks that issue on two communicators in other orders, on one stream, are named") {
  ncclUniqueId id;
  good(ncclGetUniqueId(&id));
  const auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    ncclComm_t other = nullptr;
    good(ncclCommSplit(world.comm, 0, 0, &other, nullptr));
    for (int i = 0; i < 2; ++i) {
      const ncclComm_t comm = (i + world.rank) % 2 == 0 ? world.comm : other;
      good(ncclAllReduce(world.data, world.data, 4, ncclFloat, ncclSum, comm, world.stream));
    }
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"comm 1", "comm 2", "has not come"});
}

TEST_CASE("a rank that stops for good is missed by the others") {
  sim::Options options = of(2);
  const auto whole = run(options, With::blocking, [](World& world) { good(world.reduce()); });
  std::int64_t call = 0;
  const auto& log = whole.ranks[1].log;
  while (std::string(log[static_cast<std::size_t>(call)]) != "ncclAllReduce") ++call;
  options.faults = {{.rank = 1, .call = call, .stops = true}};
  const auto text = deadlock_of(options, With::blocking, [](World& world) {
    good(world.reduce());
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"rank 1: has not come"});
}

TEST_CASE("an initialisation that lacks a rank, or has one twice, says so") {
  ncclUniqueId id;
  good(ncclGetUniqueId(&id));
  auto text = deadlock_of(of(3), With::nothing, [&](World& world) {
    if (world.rank != 2) good(ncclCommInitRank(&world.comm, 3, id, world.rank));
  });
  check_contains(text, {"ncclCommInitRank", "waits for ranks 2"});
  good(ncclGetUniqueId(&id));
  text = deadlock_of(of(2), With::nothing,
                     [&](World& world) { good(ncclCommInitRank(&world.comm, 2, id, 0)); });
  check_contains(text, {"another call says rank 0 of 2"});
  good(ncclGetUniqueId(&id));
  text = deadlock_of(of(2), With::nothing, [&](World& world) {
    good(ncclCommInitRank(&world.comm, 2 + world.rank, id, world.rank));
  });
  check_contains(text, {"another call says rank"});
}

TEST_CASE("a split, a window or a finalize that lacks a rank says so") {
  auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    ncclComm_t child = nullptr;
    if (world.rank == 0) good(ncclCommSplit(world.comm, 0, 0, &child, nullptr));
  });
  check_contains(text, {"ncclCommSplit of comm 1 rank 0 of 2, waits for ranks 1"});
  text = deadlock_of(of(2), With::blocking, [](World& world) {
    if (world.rank == 0) good(ncclCommFinalize(world.comm));
  });
  check_contains(text, {"ncclCommFinalize of comm 1 rank 0 of 2, waits for ranks 1"});
  text = deadlock_of(of(2), With::blocking, [](World& world) {
    if (world.rank == 0) return;
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    good(ncclMemAlloc(&memory, 4096));
    good(ncclCommWindowRegister(world.comm, memory, 4096, &window, 0));
  });
  check_contains(text, {"ncclCommWindowRegister of comm 1 rank 1 of 2, waits for ranks 0"});
}

// pytorch#115388, vllm#39846: the real ones hang.
TEST_CASE("destroying and aborting wait for live graphs for ever") {
  for (const bool abort : {false, true}) {
    const auto text = deadlock_of(of(2), With::non_blocking, [abort](World& world) {
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t exec = nullptr;
      static_cast<void>(world.reduce());
      good(settle(world.comm));
      good(cudaStreamBeginCapture(world.stream, cudaStreamCaptureModeThreadLocal));
      for (int i = 0; i < 2; ++i) {
        static_cast<void>(world.reduce());
        good(settle(world.comm));
      }
      good(cudaStreamEndCapture(world.stream, &graph));
      good(cudaGraphInstantiateWithFlags(&exec, graph, 0));
      good(cudaGraphDestroy(graph));
      good((abort ? ncclCommAbort : ncclCommDestroy)(world.comm));
    });
    check_contains(text, {abort ? "ncclCommAbort of" : "ncclCommDestroy of",
                          "waits for live graphs", "hold 2 of its launches"});
  }
}

TEST_CASE("a rank that arrived and then aborted is missed by those that come later") {
  std::atomic<bool> gone = false;
  const auto text = deadlock_of(of(2), With::non_blocking, [&](World& world) {
    if (world.rank == 1)
      while (!gone) std::this_thread::yield();
    static_cast<void>(world.reduce());
    good(settle(world.comm));
    if (world.rank == 0) {
      for (int i = 0; i < 100; ++i) static_cast<void>(cudaStreamQuery(world.stream));
      good(ncclCommAbort(std::exchange(world.comm, nullptr)));
      gone = true;
    }
    good(cudaStreamSynchronize(world.stream));
  });
  check_contains(text, {"rank 0: has left; rank 1: #0 all_reduce"});
}

TEST_CASE("operations of one communicator run in the order of issue, on whatever streams") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed)
    run(of(2, seed), With::blocking, [](World& world) {
      cudaStream_t second = nullptr;
      std::uint32_t* flag = nullptr;
      good(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
      good(cudaMallocHost(reinterpret_cast<void**>(&flag), sizeof *flag));
      *flag = 0;
      const auto address = reinterpret_cast<CUdeviceptr>(flag);
      expect(cuStreamWaitValue32(world.stream, address, 1, CU_STREAM_WAIT_VALUE_EQ) == CUDA_SUCCESS,
             "wait for the flag");
      good(world.reduce(8));
      good(ncclAllReduce(world.data, world.data, 4, ncclFloat, ncclSum, world.comm, second));
      for (int i = 0; i < 50; ++i)
        expect(cudaStreamQuery(second) == cudaErrorNotReady, "behind the first");
      __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST);
      good(cudaStreamSynchronize(second));
      good(cudaStreamSynchronize(world.stream));
      good(cudaFreeHost(flag));
      good(cudaStreamDestroy(second));
    });
}

TEST_CASE("the report of an operation behind one of another stream says so") {
  const auto text = deadlock_of(of(2), With::blocking, [](World& world) {
    cudaStream_t second = nullptr;
    good(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    if (world.rank == 0) good(world.reduce(8));  // rank 1 does not
    good(ncclAllReduce(world.data, world.data, 4, ncclFloat, ncclSum, world.comm, second));
    good(cudaStreamSynchronize(second));
  });
  check_contains(text, {"earlier work of comm 1 rank 0 of 2 on another stream"});
}

}  // namespace
