// What is undefined or refused: reported, and with which result.
#include <cmath>
#include <cstdlib>

#include "sim/self/nccl_support.hpp"

namespace {

using namespace self;

TEST_CASE("buffers that overlap and are not in place are a violation") {
  const auto text = violation_of(of(2), With::blocking, [](World& world) {
    good(
        ncclAllReduce(world.data, world.data + 2, 4, ncclFloat, ncclSum, world.comm, world.stream));
    const std::size_t other = world.rank == 0 ? 4 : 0;  // the other rank's place
    good(ncclAllGather(world.data + other, world.data, 4, ncclFloat, world.comm, world.stream));
    good(ncclReduceScatter(world.data, world.data + other, 4, ncclFloat, ncclSum, world.comm,
                           world.stream));
  });
  check_contains(text, {"all_reduce of 4 float sum of comm 1", "all_gather of 4 float of comm 1",
                        "reduce_scatter of 4 float sum of comm 1", "overlap and are not in place"});
}

TEST_CASE("operations of one group that write what others use are a violation") {
  const auto text = violation_of(of(2), With::blocking, [](World& world) {
    good(ncclGroupStart());
    good(ncclAllReduce(world.data, world.data, 4, ncclFloat, ncclSum, world.comm, world.stream));
    good(ncclAllReduce(world.data + 3, world.data + 3, 4, ncclFloat, ncclSum, world.comm,
                       world.stream));
    good(ncclGroupEnd());
  });
  check_contains(text, {"of the same group uses"});
}

TEST_CASE("pointers of the host, of another device, or too short are invalid arguments") {
  static float* of_rank[2];
  run(of(2), With::blocking, [](World& world) {
    of_rank[world.rank] = world.data;
    good(world.reduce());  // the other has been here, too
    good(cudaStreamSynchronize(world.stream));
    std::vector<float> host(8);
    const auto reduce = [&](const void* from, void* to, std::size_t count) {
      return ncclAllReduce(from, to, count, ncclFloat, ncclSum, world.comm, world.stream);
    };
    expect(reduce(host.data(), world.data, 8) == ncclInvalidArgument, "sendbuff of the host");
    expect(reduce(world.data, host.data(), 8) == ncclInvalidArgument, "recvbuff of the host");
    expect(reduce(nullptr, world.data, 8) == ncclInvalidArgument, "null");
    float* const other = of_rank[1 - world.rank];
    expect(reduce(other, other, 8) == ncclInvalidArgument, "the other device");
    expect(reduce(world.data, world.data, World::floats + 1) == ncclInvalidArgument, "too long");
    expect(ncclAllGather(world.data, world.data, World::floats, ncclFloat, world.comm,
                         world.stream) == ncclInvalidArgument,
           "room for one rank alone");
  });
}

TEST_CASE("memory that a graph's operation lost is a violation, and the end of the device") {
  const auto body = [](World& world) {
    float* more = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    good(cudaMalloc(reinterpret_cast<void**>(&more), 64));
    good(world.reduce());
    good(cudaStreamBeginCapture(world.stream, cudaStreamCaptureModeThreadLocal));
    good(ncclAllReduce(more, more, 4, ncclFloat, ncclSum, world.comm, world.stream));
    good(cudaStreamEndCapture(world.stream, &graph));
    good(cudaGraphInstantiateWithFlags(&exec, graph, 0));
    good(cudaFree(more));
    good(cudaGraphLaunch(exec, world.stream));
    expect(cudaStreamSynchronize(world.stream) != cudaSuccess, "synchronise");
    expect(ncclCommDestroy(world.comm) == ncclUnhandledCudaError, "destroy");
  };
  CHECK_THROWS(run(of(2), With::blocking, body));  // cleaning up fails as well
  std::string text;
  for (const auto& violation : sim::last_report().violations) text += violation + "\n";
  check_contains(text, {"all_reduce of 4 float sum of comm 1 rank 0 of 2 reads freed memory"});
}

TEST_CASE("the first operation of its kind may not be captured") {
  const auto text = violation_of(of(2), With::blocking, [](World& world) {
    cudaGraph_t graph = nullptr;
    good(world.reduce());
    good(cudaStreamBeginCapture(world.stream, cudaStreamCaptureModeThreadLocal));
    good(world.reduce());  // that kind has run
    good(ncclBroadcast(world.data, world.data, 4, ncclFloat, 0, world.comm, world.stream));
    good(cudaStreamEndCapture(world.stream, &graph));
    good(cudaGraphDestroy(graph));
  });
  check_contains(text,
                 {"broadcast of 4 float root 0 of comm 1", "is captured before that kind ran"});
  CHECK(text.find("all_reduce") == std::string::npos);
}

TEST_CASE("a communicator that is gone may not be used") {
  const auto text = violation_of(of(2), With::blocking, [](World& world) {
    const ncclComm_t comm = std::exchange(world.comm, nullptr);
    good(ncclCommDestroy(comm));
    int n = 0;
    expect(ncclCommCount(comm, &n) == ncclInvalidArgument, "count");
    expect(ncclCommDestroy(comm) == ncclInvalidArgument, "twice");
  });
  check_contains(text, {"ncclCommCount: the communicator is destroyed", "ncclCommDestroy: the"});
}

TEST_CASE("a finalized communicator takes no operations") {
  run(of(2), With::blocking, [](World& world) {
    good(ncclCommFinalize(world.comm));
    expect(world.reduce() == ncclInvalidUsage, "all-reduce");
    ncclComm_t child = nullptr;
    expect(ncclCommSplit(world.comm, 0, 0, &child, nullptr) == ncclInvalidUsage, "split");
  });
}

TEST_CASE("a unique id makes one communicator") {
  ncclUniqueId id;
  good(ncclGetUniqueId(&id));
  run(of(2), With::nothing, [&](World& world) {
    good(ncclCommInitRank(&world.comm, 2, id, world.rank));
    ncclComm_t again = nullptr;
    expect(ncclCommInitRank(&again, 2, id, world.rank) == ncclSystemError, "a second time");
  });
}

TEST_CASE("without a device there is no communicator and no memory") {
  sim::Options options = of(1);
  options.devices = 0;
  ncclUniqueId id;
  good(ncclGetUniqueId(&id));
  sim::run(options, [&](int) {
    ncclComm_t comm = nullptr;
    void* memory = nullptr;
    expect(ncclCommInitRank(&comm, 1, id, 0) == ncclUnhandledCudaError, "communicator");
    expect(ncclMemAlloc(&memory, 4) == ncclUnhandledCudaError, "memory");
  });
}

TEST_CASE("several ranks share a device where version and environment allow it") {
  const auto two_on_one = [](ncclResult_t want) {
    ncclUniqueId id;
    good(ncclGetUniqueId(&id));
    sim::Options options = of(2);
    options.devices = 1;
    sim::run(options, [&](int rank) {
      ncclComm_t comm = nullptr;
      const ncclResult_t got = ncclCommInitRank(&comm, 2, id, rank);
      expect(got == want, ncclGetErrorString(got));
      if (got == ncclSuccess) good(ncclCommDestroy(comm));
    });
  };
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
  two_on_one(ncclInvalidUsage);  // 2.28
  const sim::nccl::WithOptions newer({.version = 23000});
  two_on_one(ncclSuccess);
  unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
  two_on_one(ncclInvalidUsage);
}

TEST_CASE("calls that the version lacks are a violation") {
  const sim::nccl::WithOptions old({.version = 21800});
  int version = 0;
  CHECK(ncclGetVersion(&version) == ncclSuccess);
  CHECK(version == 21800);
  const auto text = violation_of(of(1), With::blocking, [](World& world) {
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    expect(ncclMemAlloc(&memory, 4) == ncclInvalidUsage, "ncclMemAlloc");
    expect(ncclCommWindowRegister(world.comm, world.data, 4, &window, 0) == ncclInvalidUsage,
           "ncclCommWindowRegister");
    ncclComm_t child = nullptr;
    good(ncclCommSplit(world.comm, NCCL_SPLIT_NOCOLOR, 0, &child, nullptr));  // has that
  });
  check_contains(text, {"ncclMemAlloc is not in NCCL 21800", "ncclCommWindowRegister is not in"});
}

TEST_CASE("windows take memory of ncclMemAlloc, of one size on all ranks, and know its offsets") {
  run(of(2), With::blocking, [](World& world) {
    ncclWindow_t window = nullptr;
    expect(ncclCommWindowRegister(world.comm, world.data, 64, &window, 0) == ncclInvalidArgument,
           "memory of cudaMalloc");
    void* memory = nullptr;
    good(ncclMemAlloc(&memory, 8192));
    char* const base = static_cast<char*>(memory);
    expect(ncclCommWindowRegister(world.comm, base + 4096, 4097, &window, 0) == ncclInvalidArgument,
           "past the end");
    const std::size_t size = world.rank == 0 ? 64 : 128;
    expect(ncclCommWindowRegister(world.comm, base, size, &window, 0) == ncclInvalidArgument,
           "other sizes");
    good(ncclCommWindowRegister(world.comm, base + 4096 * world.rank, 64, &window, 0));
    expect(sim::nccl::offsets(window) == std::vector<std::size_t>{0, 4096}, "offsets");
    good(ncclCommWindowDeregister(world.comm, window));
    expect(ncclCommWindowDeregister(world.comm, window) == ncclInvalidArgument, "twice");
    expect(sim::nccl::offsets(window).empty(), "gone");
    good(ncclMemFree(memory));
    expect(ncclMemFree(memory) == ncclInvalidArgument, "free twice");
  });
}

TEST_CASE("where windows are not supported the handle is null") {
  const sim::nccl::WithOptions none({.windows = false});
  run(of(2), With::blocking, [](World& world) {
    void* memory = nullptr;
    ncclWindow_t window = nullptr;
    good(ncclMemAlloc(&memory, 64));
    good(ncclCommWindowRegister(world.comm, memory, 64, &window, 0));
    expect(window == nullptr, "no window");
    good(ncclCommWindowDeregister(world.comm, window));
    good(ncclMemFree(memory));
  });
}

TEST_CASE("registrations are of device memory, and taken back once") {
  run(of(1), With::blocking, [](World& world) {
    float host[4];
    void* handle = nullptr;
    expect(ncclCommRegister(world.comm, host, sizeof host, &handle) == ncclInvalidArgument, "host");
    good(ncclCommRegister(world.comm, world.data, 64, &handle));
    good(ncclCommDeregister(world.comm, handle));
    expect(ncclCommDeregister(world.comm, handle) == ncclInvalidArgument, "twice");
  });
}

TEST_CASE("a capture that ends before the communicator settles is a violation") {
  const sim::nccl::WithOptions slow({.polls = 0});
  const auto text = violation_of(of(1), With::non_blocking, [](World& world) {
    static_cast<void>(world.reduce());
    good(settle(world.comm));
    cudaGraph_t graph = nullptr;
    good(cudaStreamBeginCapture(world.stream, cudaStreamCaptureModeThreadLocal));
    expect(world.reduce() == ncclInProgress, "in progress");
    good(cudaStreamEndCapture(world.stream, &graph));
    expect(settle(world.comm) == ncclInvalidUsage, "too late");
    good(cudaGraphDestroy(graph));
    good(ncclCommAbort(std::exchange(world.comm, nullptr)));
  });
  check_contains(text, {"a capture began or ended before"});
}

TEST_CASE("a stream of another device cannot be used") {
  static cudaStream_t of_rank[2];
  run(of(2), With::blocking, [](World& world) {
    of_rank[world.rank] = world.stream;
    good(world.reduce());
    good(cudaStreamSynchronize(world.stream));
    expect(ncclAllReduce(world.data, world.data, 4, ncclFloat, ncclSum, world.comm,
                         of_rank[1 - world.rank]) == ncclUnhandledCudaError,
           "the other rank's stream");
  });
}

}  // namespace
