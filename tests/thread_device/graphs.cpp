// Captured calls: replays follow the data, graphs run side by side, captures that fail or are too
// many.
#include <optional>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "thread_device/support.hpp"

using namespace thread_device;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t n = 40;

/// An all-gather, an all-reduce of what it gave and a reduce-scatter of that, from one input.
struct Chain {
  Data<float> in{n}, out{n}, all;
  explicit Chain(int size) : all(n * size) {}
  void call(Comm& comm, const Stream& s, int size) {
    comm.all_gather(in.data(), all.data(), n, s.get());
    comm.all_reduce(all.data(), all.data(), n * size, s.get());
    comm.reduce_scatter(all.data(), out.data(), n, s.get());
  }
  /// Every rank had the same sum, hence size * size times its part of what was gathered.
  [[nodiscard]] static std::vector<float> expected(int rank, int size, int salt) {
    auto want = sent<float>(rank, n, salt);
    for (float& value : want) value *= static_cast<float>(size * size);
    return want;
  }
};

}  // namespace

TEST_CASE("100 replays of one capture follow inputs that change, among eager calls") {
  for (const auto& [ranks, devices] : {std::pair{2, 1}, {4, 2}, {8, 1}, {8, 8}}) {
    on_ranks({{.ranks = ranks, .devices = devices, .seed = 7}}, [](Comm& comm, const Place& at) {
      Chain chain(at.size);
      Data<float> seen(n * 100);
      Graph graph(at.stream, [&] { chain.call(comm, at.stream, at.size); });
      for (int i = 0; i < 100; ++i) {
        chain.in.set(sent<float>(at.rank, n, i), at.stream);
        if (i % 7 == 3)
          chain.call(comm, at.stream, at.size);
        else
          graph.launch(at.stream);
        ok(cudaMemcpyAsync(seen.data() + n * i, chain.out.data(), n * sizeof(float),
                           cudaMemcpyDeviceToDevice, at.stream.get()));
      }
      std::vector<float> want;
      for (int i = 0; i < 100; ++i)
        for (const float value : Chain::expected(at.rank, at.size, i)) want.push_back(value);
      same(seen.now(at.stream), want, "100 replays");
    });
  }
}

TEST_CASE(
    "graphs of one communicator run on two streams in whatever order each rank launches them") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed)
    on_ranks({{.ranks = 3, .devices = 1 + static_cast<int>(seed % 2), .seed = seed}},
             [](Comm& comm, const Place& at) {
               Stream second;
               Chain a(at.size), b(at.size);
               Graph graph_a(at.stream, [&] { a.call(comm, at.stream, at.size); });
               Graph graph_b(second, [&] { b.call(comm, second, at.size); });
               for (int i = 0; i < 3; ++i) {
                 a.in.set(sent<float>(at.rank, n, i), at.stream);
                 b.in.set(sent<float>(at.rank, n, i + 50), second);
                 if (at.rank == 1) graph_b.launch(second);
                 graph_a.launch(at.stream);
                 if (at.rank != 1) graph_b.launch(second);
               }
               same(a.out.now(at.stream), Chain::expected(at.rank, at.size, 2), "first");
               same(b.out.now(second), Chain::expected(at.rank, at.size, 52), "second");
             });
}

TEST_CASE("a capture that forks keeps the calls of its streams apart") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed)
    on_ranks({{.ranks = 3, .seed = seed}}, [](Comm& comm, const Place& at) {
      Stream second;
      Chain a(at.size), b(at.size);
      cudaEvent_t fork = nullptr, join = nullptr;
      ok(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
      ok(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
      Graph graph(at.stream, [&] {
        ok(cudaEventRecord(fork, at.stream.get()));
        ok(cudaStreamWaitEvent(second.get(), fork, 0));
        a.call(comm, at.stream, at.size);
        b.call(comm, second, at.size);
        ok(cudaEventRecord(join, second.get()));
        ok(cudaStreamWaitEvent(at.stream.get(), join, 0));
      });
      for (int i = 0; i < 3; ++i) {
        a.in.set(sent<float>(at.rank, n, i), at.stream);
        b.in.set(sent<float>(at.rank, n, i + 50), at.stream);
        graph.launch(at.stream);
      }
      same(a.out.now(at.stream), Chain::expected(at.rank, at.size, 2), "first");
      same(b.out.now(at.stream), Chain::expected(at.rank, at.size, 52), "second");
      ok(cudaEventDestroy(fork));
      ok(cudaEventDestroy(join));
    });
}

TEST_CASE("captures beyond what was asked for are refused alike, until a graph is dropped") {
  on_ranks({.world = {.ranks = 3}, .captured_streams = 2}, [](Comm& comm, const Place& at) {
    Chain chain(at.size);
    const auto calls = [&] { chain.call(comm, at.stream, at.size); };
    std::optional<Graph> first(std::in_place, at.stream, calls);
    Graph second(at.stream, calls);
    throws<dpgather::CapacityError>([&] { Graph third(at.stream, calls); },
                                    {"all 2 sets of flags", "captured_streams"});
    chain.in.set(sent<float>(at.rank, n, 1), at.stream);
    calls();  // eager ones go on
    same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, 1), "eager");
    for (int i = 2; i < 6; ++i) {
      first.reset();
      // The others have dropped theirs too before a rank takes its place.
      comm.broadcast(chain.out.data(), 1, 0, at.stream.get());
      first.emplace(at.stream, calls);
      chain.in.set(sent<float>(at.rank, n, i), at.stream);
      first->launch(at.stream);
      same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, i), "in its place");
    }
    second.launch(at.stream);
    same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, 5), "the one that stayed");
  });
}

TEST_CASE("a call that some ranks capture and some do not is told on all ranks") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    CHECK_NOTHROW(on_ranks({{.ranks = 3, .seed = seed}}, [](Comm& comm, const Place& at) {
      Chain chain(at.size);
      const auto call = [&] {
        comm.all_reduce(chain.in.data(), chain.out.data(), n, at.stream.get());
      };
      throws<dpgather::Error>(
          [&] {
            if (at.rank == 1)
              call();
            else
              Graph graph(at.stream, call);
          },
          {" captures this call, rank 1 does not"});
      throws<dpgather::PeerError>([&] { comm.check(); }, {" captures this call, rank 1 does not"});
    }));
}

TEST_CASE("a capture that ends with an exception on one rank ends on all that still capture") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed)
    CHECK_NOTHROW(on_ranks({{.ranks = 4, .devices = 2, .seed = seed}}, [&](Comm& comm,
                                                                           const Place& at) {
      Chain chain(at.size);
      // Before, between and behind its calls, which the others make all of.
      const auto failing_at = [&](int place) {
        return [&, place] {
          if (at.rank == 3 && place == 0) throw Planned("no more");
          comm.all_gather(chain.in.data(), chain.all.data(), n, at.stream.get());
          if (at.rank == 3 && place == 1) throw Planned("no more");
          comm.all_reduce(chain.all.data(), chain.all.data(), n, at.stream.get());
          if (at.rank == 3 && place == 2) throw Planned("no more");
        };
      };
      for (int round = 0; round < 3; ++round) {
        const int place = (round + static_cast<int>(seed)) % 3;
        if (at.rank == 3)
          throws<Planned>([&] { Graph graph(at.stream, failing_at(place)); });
        else if (place == 2)
          Graph graph(at.stream, failing_at(place));
        else
          throws<dpgather::GraphError>([&] { Graph graph(at.stream, failing_at(place)); },
                                       {"ended with an exception"});
        if (seed % 2 == 0 && place < 2)
          throws<dpgather::GraphError>([&] { Graph graph(at.stream, failing_at(3)); },
                                       {"ended with an exception"});
        chain.in.set(sent<float>(at.rank, n, round), at.stream);
        chain.call(comm, at.stream, at.size);
        same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, round), "eager");
        Graph graph(at.stream, [&] { chain.call(comm, at.stream, at.size); });
        chain.in.set(sent<float>(at.rank, n, round + 9), at.stream);
        graph.launch(at.stream);
        same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, round + 9), "captured");
      }
    }));
}

TEST_CASE("a rank that leaves, or does not come to a captured call, is named") {
  CHECK_NOTHROW(on_ranks(
      {.world = {.ranks = 3}, .deadline = milliseconds(300)}, [](Comm& comm, const Place& at) {
        Chain chain(at.size);
        if (at.rank == 1) return;
        throws<dpgather::PeerError>(
            [&] { Graph graph(at.stream, [&] { chain.call(comm, at.stream, 3); }); },
            {"rank 1 left while others are in all_gather"});
      }));
  CHECK_NOTHROW(on_ranks(
      {.world = {.ranks = 3}, .deadline = milliseconds(300)}, [](Comm& comm, const Place& at) {
        Chain chain(at.size);
        if (at.rank == 1) std::this_thread::sleep_for(milliseconds(500));
        throws<dpgather::Error>(
            [&] { Graph graph(at.stream, [&] { chain.call(comm, at.stream, 3); }); },
            {"no answer within 300 ms in all_gather from rank 1"});
      }));
}

TEST_CASE("a rank that cannot capture ends the capture of all, and eager calls go on") {
  on_ranks({{.ranks = 3}}, [](Comm& comm, const Place& at) {
    Chain chain(at.size);
    const auto calls = [&] {
      comm.all_gather(chain.in.data(), chain.all.data(), n, at.stream.get());
      if (at.rank == 2) static_cast<void>(cudaStreamSynchronize(at.stream.get()));  // forbidden
      comm.all_reduce(chain.all.data(), chain.all.data(), n, at.stream.get());
    };
    if (at.rank == 2)
      throws<dpgather::CudaError>([&] { Graph graph(at.stream, calls); },
                                  {"cudaErrorStreamCaptureInvalidated"});
    else
      throws<dpgather::GraphError>([&] { Graph graph(at.stream, calls); },
                                   {"rank 2", "cudaErrorStreamCaptureInvalidated"});
    for (int i = 0; i < 2; ++i) {
      chain.in.set(sent<float>(at.rank, n, i), at.stream);
      chain.call(comm, at.stream, at.size);
      same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, i), "eager");
      Graph graph(at.stream, [&] { chain.call(comm, at.stream, at.size); });
      chain.in.set(sent<float>(at.rank, n, i + 9), at.stream);
      graph.launch(at.stream);
      same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, i + 9), "captured again");
    }
  });
}

TEST_CASE("a capture that nobody takes notes of replays as well") {
  on_ranks({{.ranks = 2}}, [](Comm& comm, const Place& at) {
    Chain chain(at.size);
    ok(cudaStreamBeginCapture(at.stream.get(), cudaStreamCaptureModeThreadLocal));
    chain.call(comm, at.stream, at.size);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ok(cudaStreamEndCapture(at.stream.get(), &graph));
    ok(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 3; ++i) {
      chain.in.set(sent<float>(at.rank, n, i), at.stream);
      ok(cudaGraphLaunch(exec, at.stream.get()));
      same(chain.out.now(at.stream), Chain::expected(at.rank, at.size, i), "replay");
    }
    ok(cudaGraphExecDestroy(exec));
    ok(cudaGraphDestroy(graph));
  });
}

TEST_CASE("a graph refuses to run once its communicator is gone, which is reported") {
  static int reports = 0;
  reports = 0;
  const auto before = std::exchange(
      dpgather::destructor_error_handler(), +[](const char* text) noexcept {
        if (std::string_view(text).find("destroyed while 1 captured graphs hold it") !=
            std::string_view::npos)
          ++reports;
      });
  sim::run({.ranks = 2}, [hub = std::make_shared<dpgather::ThreadHub>(2)](int rank) {
    Stream stream;
    Data<float> a(n), b(n);
    std::optional<Comm> comm(std::in_place, hub, rank);
    Graph graph(stream, [&] { comm->all_reduce(a.data(), b.data(), n, stream.get()); });
    comm.reset();
    throws<dpgather::GraphError>([&] { graph.launch(stream); }, {"was destroyed"});
  });
  dpgather::destructor_error_handler() = before;
  CHECK(reports == 2);
}

TEST_CASE("communicators have numbers of their own") {
  on_ranks({{.ranks = 2}}, [](Comm& comm, const Place& at) {
    const Comm part = comm.split(at.rank, 0);
    expect(comm.generation() != 0 && comm.generation() != part.generation(), "the same number");
  });
}
