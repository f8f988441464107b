// How communicators begin, are split and end.
#include <memory>
#include <optional>
#include <set>

#include "nccl_comm/harness.hpp"

namespace {

using namespace nccl_test;
using dpgather::InvalidArgument;
using dpgather::NcclError;
using dpgather::NcclUniqueId;
using dpgather::PeerError;
using dpgather::TimeoutError;
using Floats = std::vector<float>;

TEST_CASE("ranks, sizes and options outside their limits are errors before anyone is waited for") {
  on_gpus(1, [](int) {
    const auto id = NcclUniqueId::create();
    const auto refuses = [&](int rank, int size, NcclOptions options,
                             std::initializer_list<std::string_view> parts) {
      throws<InvalidArgument>([&] { NcclComm<>(id, rank, size, options); }, parts);
    };
    refuses(2, 2, {}, {"NcclComm", "rank 2 of size 2"});
    refuses(-1, 2, {}, {"rank -1"});
    refuses(0, 0, {}, {"size 0"});
    refuses(0, 1, {.deadline = std::chrono::milliseconds(0)}, {"deadline is 0 ms"});
    refuses(0, 1, {.watchdog_interval = std::chrono::milliseconds(-5)},
            {"watchdog_interval is -5 ms"});
    throws<dpgather::CudaError>([&] { NcclComm<>(id, 0, 1, {.device = 9}); }, {"cudaSetDevice"});
  });
}

TEST_CASE("a library older than the header is refused, with both versions") {
  const auto id = NcclUniqueId::create();
  const sim::nccl::WithOptions older({.version = NCCL_VERSION_CODE - 1});
  on_gpus(1, [&](int) {
    throws<NcclError>([&] { NcclComm<>(id, 0, 1); },
                      {"rank 0", dpgather::nccl::version_text(NCCL_VERSION_CODE - 1),
                       dpgather::nccl::version_text(NCCL_VERSION_CODE), "older"});
    throws<NcclError>([] { static_cast<void>(NcclUniqueId::create()); }, {"NcclUniqueId", "older"});
  });
}

TEST_CASE("a newer library is taken") {
  const sim::nccl::WithOptions newer({.version = NCCL_VERSION_CODE + 100});
  on_comms(2, [](NcclComm<>& comm, CudaStream) { comm.check(); });
}

TEST_CASE(
    "a rank that never comes is an error past the deadline, and nothing is left of the others") {
  const auto id = NcclUniqueId::create();
  const auto report = on_gpus(3, [&](int rank) {
    if (rank == 1) return;
    const auto text = throws<TimeoutError>([&] { NcclComm<>(id, rank, 3, options_for_tests()); },
                                           {concat("rank ", rank), "300 ms"});
    expect(text.find("ncclCommInitRankConfig") != std::string::npos, text);
  });
  CHECK(report.virtual_s > 0.29);
  CHECK(report.virtual_s < 2.0);
}

TEST_CASE("two ranks on one GPU are NCCL's error, on both") {
  const auto id = NcclUniqueId::create();
  on_gpus(2, [&](int rank) {
    auto options = options_for_tests();
    options.device = 1;
    try {
      NcclComm<>(id, rank, 2, options);
      throw std::logic_error("no error came");
    } catch (const NcclError& error) {
      expect(error.code() == ncclInvalidUsage, error.what());
      expect(std::string(error.what()).find("both on device 1") != std::string::npos, error.what());
    }
  });
}

TEST_CASE("the device option decides the GPU and leaves the thread's own") {
  const auto id = NcclUniqueId::create();
  on_gpus(2, [&](int rank) {
    auto options = options_for_tests();
    options.device = 1 - rank;
    NcclComm<> comm(id, rank, 2, options);
    int device = -1;
    cudaGetDevice(&device);
    expect(device == rank, "the current device is ", device);
    cudaSetDevice(1 - rank);
    const OwnStream stream;
    const Data<float> one(4, 1, stream);
    comm.all_reduce(one.get(), one.get(), 4, CudaStream(stream));
    expect(one.read() == Floats(4, 2), "a sum on it");
  });
}

TEST_CASE("no two communicators of a process have one generation") {
  std::set<std::uint64_t> seen;
  int made = 0;
  for (int round = 0; round < 2; ++round)
    on_comms(2, [&](NcclComm<>& comm, CudaStream) {
      auto part = comm.split(0, 0);
      seen.insert(comm.generation());
      seen.insert(part.generation());
      made += 2;
      NcclComm<> moved = std::move(part);
      expect(seen.count(moved.generation()) == 1, "a move made a new generation");
    });
  CHECK(seen.size() == static_cast<std::size_t>(made));
}

TEST_CASE("split makes a communicator a color, in key order, again and again") {
  on_comms(4, [](NcclComm<>& comm, CudaStream stream) {
    comm.set_step(5);
    for (const bool backwards : {false, true}) {
      const int color = comm.rank() % 2;
      auto part = comm.split(color, backwards ? -comm.rank() : comm.rank());
      const Data<float> mine(1, static_cast<float>(comm.rank()), stream), all(2, -1, stream);
      part.all_gather(mine.get(), all.get(), 1, stream);
      const auto low = static_cast<float>(color), high = static_cast<float>(color + 2);
      expect(all.read() == (backwards ? Floats{high, low} : Floats{low, high}), "the part's order");
      expect(part.size() == 2 && (part.rank() == 0) == (all.read()[0] == mine.read()[0]),
             "rank or size");
      expect(part.options().deadline == comm.options().deadline, "the part's deadline");
      auto alone = part.split(part.rank(), 0);
      expect(alone.size() == 1, "the part of a part has ", alone.size());
      throws<InvalidArgument>([&] { part.broadcast(mine.get(), 1, 7, stream); }, {"step 5"});
      comm.all_reduce(mine.get(), mine.get(), 1, stream);
      expect(mine.read() == Floats{6}, "the whole while parts live");
    }
  });
}

TEST_CASE("a split that a rank does not come to is an error past the deadline, and final") {
  const auto report = on_comms(2, [](NcclComm<>& comm, CudaStream) {
    if (comm.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      comm.abort("the other one is gone by now");
      return;
    }
    throws<TimeoutError>([&] { static_cast<void>(comm.split(0, 0)); },
                         {"split", "ncclCommSplit", "300 ms"});
    throws<PeerError>([&] { comm.check(); }, {"communicator failed", "ncclCommSplit"});
  });
  CHECK(report.virtual_s > 0.29);
}

TEST_CASE("a communicator ends when the work that was issued has") {
  on_schedules([](const sim::Options& options) {
    on_comms(
        2,
        [](NcclComm<>& comm, CudaStream stream) {
          const Data<float> one(4, 1, stream);
          auto part = std::make_optional(comm.split(0, 0));
          part->all_reduce(one.get(), one.get(), 4, stream);
          part.reset();
          expect(cudaStreamQuery(stream.get()) == cudaSuccess, "work is left");
          expect(one.read() == Floats(4, 2), "the sum");
        },
        options);
  });
}

TEST_CASE("one that graphs hold is left alive when it is destroyed, and said so; graphs refuse") {
  const Reports reports;
  const auto id = NcclUniqueId::create();
  sim::run({.ranks = 2, .devices = 2}, [&](int rank) {
    cudaSetDevice(rank);
    const OwnStream stream;
    const Data<float> one(4, 1, stream);
    auto comm = std::make_optional<NcclComm<>>(id, rank, 2, options_for_tests());
    comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream));
    comm->synchronize(stream);
    const Captured graph(stream,
                         [&] { comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream)); });
    graph.launch();
    comm->synchronize(stream);
    comm.reset();
    throws<dpgather::GraphError>([&] { graph.launch(); },
                                 {concat("NcclComm of rank ", rank), "was destroyed"});
    expect(one.read() == Floats(4, 4), "what ran before");
  });
  for (const std::string rank : {"rank 0", "rank 1"}) {
    CHECK(reports.all().find("NcclComm of " + rank + ": its NCCL communicator is left alive") !=
          std::string::npos);
    CHECK(reports.all().find("NcclComm of " + rank + " was destroyed while 1 captured graphs") !=
          std::string::npos);
  }
  CHECK(sim::nccl::left_over().size() == 2);
  CHECK(sim::last_report().leaks.size() == 2);  // these
}

TEST_CASE("one whose graphs are gone is destroyed without a word") {
  const Reports reports;
  on_comms(2, [&](NcclComm<>& comm, CudaStream stream) {
    const Data<float> one(4, 1, stream);
    comm.all_reduce(one.get(), one.get(), 4, stream);
    const Captured graph(stream, [&] { comm.all_reduce(one.get(), one.get(), 4, stream); });
    graph.launch();
  });
  CHECK(reports.all() == "");
}

TEST_CASE("a graph that nobody told of keeps NCCL from ending: that is reported, and no hang") {
  const Reports reports;
  const auto id = NcclUniqueId::create();
  sim::run({.ranks = 1, .devices = 1}, [&](int rank) {
    const OwnStream stream;
    const Data<float> one(4, 1, stream);
    auto comm = std::make_optional<NcclComm<>>(id, rank, 1, options_for_tests());
    comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream));
    comm->synchronize(stream);
    cudaGraph_t graph = nullptr;
    cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal);
    comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream));
    cudaStreamEndCapture(stream.get(), &graph);
    comm.reset();
    cudaGraphDestroy(graph);
  });
  CHECK(reports.all().find("rank 0: NCCL did not end it within 300 ms") != std::string::npos);
  CHECK(sim::nccl::left_over().empty());
  CHECK(sim::last_report().leaks.empty());
}

TEST_CASE("a peer that has not left by the deadline is reported, and the rest goes on") {
  const Reports reports;
  const auto id = NcclUniqueId::create();
  on_gpus(2, [&](int rank) {
    const OwnStream stream;
    std::optional<NcclComm<>> comm(std::in_place, id, rank, 2, options_for_tests());
    if (rank == 1) std::this_thread::sleep_for(std::chrono::seconds(2));
    comm.reset();
  });
  CHECK(reports.all().find("rank 0, destroy] ncclCommFinalize did not finish within 300 ms") !=
        std::string::npos);
}

}  // namespace
