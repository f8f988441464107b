// What ranks hear when one of them fails: in a rendezvous, in a stream, in a graph. Nothing hangs.
#include <optional>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "thread_device/support.hpp"

using namespace thread_device;
using dpgather::PeerError;
using std::chrono::milliseconds;

namespace {

constexpr std::int64_t n = 40;

/// Two buffers and a graph that reduces one to the other.
struct Reduction {
  Data<float> in{n}, out{n};
  Graph graph;
  Reduction(Comm& comm, const Place& at) : graph(at.stream, [&] { call(comm, at); }) {}
  void call(Comm& comm, const Place& at) {
    comm.all_reduce(in.data(), out.data(), n, at.stream.get());
  }
};

}  // namespace

TEST_CASE("different calls are listed on every rank, eager or captured") {
  for (const bool captured : {false, true})
    CHECK_NOTHROW(on_ranks({{.ranks = 3}}, [&](Comm& comm, const Place& at) {
      Data<float> a(n), b(n * 3);
      const auto call = [&] {
        if (at.rank == 1)
          comm.broadcast(a.data(), n, 2, at.stream.get());
        else
          comm.all_gather(a.data(), b.data(), n - at.rank, at.stream.get());
      };
      throws<dpgather::MismatchError>(
          [&] {
            if (captured)
              Graph graph(at.stream, call);
            else
              call();
          },
          {"rank 0: all_gather of 40 float", "rank 1: broadcast of 40 float from root 2",
           "rank 2: all_gather of 38 float"});
      throws<PeerError>([&] { comm.check(); }, {"different collectives"});
      throws<PeerError>(call, {"different collectives"});
    }));
}

TEST_CASE("a rank that throws frees the ranks that wait for it, with its reason") {
  CHECK_THROWS_AS(on_ranks({{.ranks = 3}},
                           [](Comm& comm, const Place& at) {
                             Data<float> a(n);
                             if (at.rank == 2) throw Planned("no more");
                             throws<PeerError>(
                                 [&] { comm.all_reduce(a.data(), a.data(), n, at.stream.get()); },
                                 {"rank 2 ended with an exception"});
                           }),
                  Planned);
}

TEST_CASE("a rank that does not come is named at the deadline") {
  CHECK_NOTHROW(on_ranks(
      {.world = {.ranks = 3}, .deadline = milliseconds(500)}, [](Comm& comm, const Place& at) {
        Data<float> a(n);
        const auto call = [&] { comm.all_reduce(a.data(), a.data(), n, at.stream.get()); };
        if (at.rank == 1) {
          std::this_thread::sleep_for(milliseconds(700));
          return throws<PeerError>(call, {"no answer within 500 ms"});
        }
        throws<dpgather::Error>(call, {"no answer within 500 ms", "ranks 1"});
      }));
}

// Freeing device memory waits for the device, so a rank that fails aborts before its buffers go.
TEST_CASE("a rank that fails frees streams that wait for it in graphs") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    CHECK_THROWS_AS(on_ranks({{.ranks = 4, .devices = 2, .seed = seed}},
                             [](Comm& comm, const Place& at) {
                               Reduction reduction(comm, at);
                               if (at.rank == 3) {
                                 reduction.graph.launch(at.stream);
                                 comm.abort("no more");
                                 throw Planned("no more");
                               }
                               for (int i = 0; i < 5; ++i) reduction.graph.launch(at.stream);
                               ok(cudaStreamSynchronize(at.stream.get()));
                               throws<PeerError>([&] { comm.check(); },
                                                 {"rank 3 aborted: no more"});
                             }),
                    Planned);
}

TEST_CASE("a communicator that goes with an exception frees streams that wait for its rank") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto hub = std::make_shared<dpgather::ThreadHub>(3);
    CHECK_THROWS_AS(
        sim::run({.ranks = 3, .seed = seed},
                 [&](int rank) {
                   Stream stream;
                   Data<float> a(n), b(n);
                   std::optional<Graph> graph;
                   Comm comm(hub, rank);
                   graph.emplace(stream,
                                 [&] { comm.all_reduce(a.data(), b.data(), n, stream.get()); });
                   if (rank == 0) {
                     graph.reset();
                     throw Planned("no more");
                   }
                   for (int i = 0; i < 5; ++i) graph->launch(stream);
                   ok(cudaStreamSynchronize(stream.get()));
                   throws<PeerError>([&] { comm.check(); }, {"rank 0 ended with an exception"});
                   graph.reset();
                 }),
        Planned);
  }
}

TEST_CASE("abort frees streams that wait in graphs, also for launches that come later") {
  CHECK_NOTHROW(on_ranks({{.ranks = 3}}, [](Comm& comm, const Place& at) {
    Reduction reduction(comm, at);
    if (at.rank == 0) {
      std::this_thread::sleep_for(milliseconds(10));
      comm.abort("enough");
    } else {
      reduction.graph.launch(at.stream);
      ok(cudaStreamSynchronize(at.stream.get()));
      for (int i = 0; i < 3; ++i) reduction.graph.launch(at.stream);
      ok(cudaStreamSynchronize(at.stream.get()));
    }
    throws<PeerError>([&] { reduction.call(comm, at); }, {"rank 0 aborted: enough"});
  }));
}

TEST_CASE("synchronize gives up on a peer that never launches, and frees the stream") {
  CHECK_NOTHROW(on_ranks({.world = {.ranks = 2}, .deadline = milliseconds(300)},
                         [](Comm& comm, const Place& at) {
                           Reduction reduction(comm, at);
                           reduction.graph.launch(at.stream);
                           comm.synchronize(at.stream.get());
                           if (at.rank == 1) return;
                           reduction.graph.launch(at.stream);
                           throws<dpgather::TimeoutError>(
                               [&] { comm.synchronize(at.stream.get()); }, {"within 300 ms"});
                           ok(cudaStreamSynchronize(at.stream.get()));
                           throws<PeerError>([&] { comm.check(); }, {"rank 0", "300 ms"});
                         }));
}

TEST_CASE("synchronize says that the communicator failed, though the stream was freed") {
  CHECK_NOTHROW(on_ranks({{.ranks = 2}}, [](Comm& comm, const Place& at) {
    Reduction reduction(comm, at);
    if (at.rank == 1) return comm.abort("enough");
    reduction.graph.launch(at.stream);
    throws<PeerError>([&] { comm.synchronize(at.stream.get()); }, {"enough"});
  }));
}

TEST_CASE("a launch that a peer never made ends with the communicators") {
  const auto hub = std::make_shared<dpgather::ThreadHub>(2, milliseconds(300));
  CHECK_NOTHROW(sim::run({.ranks = 2}, [&](int rank) {
    Stream stream;
    Data<float> a(n), b(n);
    Comm comm(hub, rank);
    Graph graph(stream, [&] { comm.all_reduce(a.data(), b.data(), n, stream.get()); });
    if (rank == 0) graph.launch(stream);
  }));
  CHECK(sim::last_report().leaks.empty());
}

TEST_CASE("argument errors are thrown before anything is sent") {
  on_ranks({{.ranks = 2}}, [](Comm& comm, const Place& at) {
    Data<float> a(n), b(n * 2);
    throws<dpgather::InvalidArgument>(
        [&] { comm.all_gather(a.data(), b.data(), -1, at.stream.get()); }, {"count is -1"});
    throws<dpgather::InvalidArgument>([&] { comm.broadcast(a.data(), n, 2, at.stream.get()); },
                                      {"root is 2"});
    throws<dpgather::InvalidArgument>(
        [&] { comm.all_gather(b.data() + 1, b.data(), n, at.stream.get()); }, {"overlap"});
    const Stream second;
    throws<dpgather::InvalidArgument>(
        [&] {
          comm.group([&] {
            comm.broadcast(a.data(), n, 0, at.stream.get());
            comm.broadcast(b.data(), n, 0, second.get());
          });
        },
        {"one stream"});
    comm.all_gather(a.data(), b.data(), n, at.stream.get());  // all is well
    ok(cudaStreamSynchronize(at.stream.get()));
  });
}

TEST_CASE("construction refuses what cannot work, alike on all ranks") {
  const auto build = [](sim::Options world, int size, dpgather::ThreadDeviceOptions options) {
    const auto hub = std::make_shared<dpgather::ThreadHub>(size);
    return sim::run(world, [&](int rank) {
      ok(cudaSetDevice(rank % world.devices));
      Comm comm(hub, rank, options);
    });
  };
  CHECK_THROWS_WITH_AS(build({.ranks = 65}, 65, {}), doctest::Contains("size is 65"),
                       dpgather::InvalidArgument);
  CHECK_THROWS_WITH_AS(build({.ranks = 2}, 2, {.captured_streams = 0}),
                       doctest::Contains("captured_streams is 0"), dpgather::InvalidArgument);
  CHECK_THROWS_WITH_AS(build({.ranks = 2, .devices = 2, .peers = false}, 2, {}),
                       doctest::Contains("cannot read the memory of device"),
                       dpgather::InvalidArgument);
  CHECK_NOTHROW(build({.ranks = 64}, 64, {}));
}

TEST_CASE("parts of a communicator work apart, and one part's failure is its own") {
  for (const int devices : {1, 4})
    CHECK_NOTHROW(on_ranks({{.ranks = 6, .devices = devices}}, [](Comm& comm, const Place& at) {
      Comm part = comm.split(at.rank % 2, -at.rank);
      expect(part.size() == 3 && part.rank() == (5 - at.rank) / 2, "order by key");
      Data<float> in(n), all(n * 3);
      in.set(sent<float>(part.rank(), n, at.rank % 2), at.stream);
      part.all_gather(in.data(), all.data(), n, at.stream.get());
      same(all.now(at.stream), gathered<float>(3, n, at.rank % 2), "a part");
      if (at.rank == 1) part.abort("only the odd");
      const auto call = [&] { part.broadcast(in.data(), n, 0, at.stream.get()); };
      if (at.rank % 2 == 1)
        throws<PeerError>(call, {"only the odd"});
      else
        call();
      comm.all_reduce(in.data(), in.data(), n, at.stream.get());
      ok(cudaStreamSynchronize(at.stream.get()));
    }));
}

TEST_CASE("streams that wait in graphs for a communicator split off are freed with the one above") {
  CHECK_NOTHROW(on_ranks({{.ranks = 2}}, [&](Comm& comm, const Place& at) {
    Comm child = comm.split(0, at.rank);
    Reduction reduction(child, at);
    const Stream other;
    // Only rank 1 launches: its stream waits for rank 0, which gives the parent up.
    if (at.rank == 1) reduction.graph.launch(at.stream);
    comm.barrier(CudaStream(other.get()));
    if (at.rank == 0) comm.abort("rank 0 gave up");
    throws<PeerError>([&] { child.synchronize(CudaStream(at.stream.get())); }, {"rank 0 gave up"});
    ok(cudaStreamSynchronize(at.stream.get()));
  }));
}
