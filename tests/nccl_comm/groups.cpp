// Groups, and what a capture bakes.
#include <optional>

#include "nccl_comm/harness.hpp"

namespace {

using namespace nccl_test;
using Sizes = std::vector<std::int64_t>;
using Floats = std::vector<float>;

struct Planned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

TEST_CASE("the calls of a group are one launch, and counts may be gone when it is made") {
  on_comms(3, [](NcclComm<>& comm, CudaStream stream) {
    const auto rank = static_cast<float>(comm.rank());
    const Data<float> mine(2, rank, stream), all(6, -1, stream), ragged(6, -1, stream);
    const Data<float> sum(2, rank, stream);
    comm.group([&] {
      comm.all_gather(mine.get(), all.get(), 2, stream);
      {
        const Sizes counts{1, 2, 0}, offsets{0, 3, 5};
        comm.all_gather_v(mine.get(), ragged.get(), counts, offsets, stream);
      }
      const Sizes noise{9, 9, 9, 9, 9, 9};
      static_cast<void>(noise);
      comm.all_reduce(sum.get(), sum.get(), 2, stream);
    });
    expect(all.read() == Floats{0, 0, 1, 1, 2, 2}, "all_gather");
    expect(ragged.read() == Floats{0, -1, -1, 1, 1, -1}, "all_gather_v");
    expect(sum.read() == Floats{3, 3}, "all_reduce");
  });
  for (int rank = 0; rank < 3; ++rank) CHECK(sim::nccl::launches(rank) == 1);
}

TEST_CASE("a group that throws makes none of its calls, and the next one works") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> one(4, 1, stream), other(4, 5, stream);
    throws<Planned>(
        [&] {
          comm.group([&] {
            comm.all_reduce(one.get(), other.get(), 4, stream);
            throw Planned("in the middle");
          });
        },
        {"in the middle"});
    comm.synchronize(stream);
    expect(other.read() == Floats(4, 5), "a call was made");
    expect(comm.elements_moved() == 0, "elements were counted");
    comm.group([&] { comm.all_reduce(one.get(), one.get(), 4, stream); });
    expect(one.read() == Floats(4, 2), "the group after it");
  });
  CHECK(sim::nccl::launches(0) == 1);
}

TEST_CASE("groups do not nest, have one stream, and have no split in them") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const OwnStream second;
    const Data<float> one(4, 1, stream);
    const auto refuses = [&](const auto& f, std::initializer_list<std::string_view> parts) {
      throws<dpgather::InvalidArgument>([&] { comm.group(f); }, parts);
    };
    refuses([&] { comm.group([] {}); }, {"group", "do not nest"});
    refuses([&] { static_cast<void>(comm.split(0, 0)); }, {"split", "inside a group"});
    refuses(
        [&] {
          comm.all_reduce(one.get(), one.get(), 4, stream);
          comm.all_reduce(one.get(), one.get(), 4, CudaStream(second));
        },
        {"one stream"});
    comm.all_reduce(one.get(), one.get(), 4, stream);
    expect(one.read() == Floats(4, 2), "the call after them");
  });
}

TEST_CASE("a capture bakes the calls and holds the communicator; launches count what they move") {
  on_schedules([](const sim::Options& options) {
    on_comms(
        2,
        [](NcclComm<>& comm, CudaStream stream) {
          const Data<float> value(3, 1, stream), mine(2, 1, stream), ragged(6, 0, stream);
          Sizes counts{1, 2}, offsets{0, 3};
          const auto calls = [&] {
            comm.group([&] {
              comm.all_reduce(value.get(), value.get(), 3, stream);
              comm.all_gather_v(mine.get(), ragged.get(), counts, offsets, stream);
            });
          };
          calls();
          comm.synchronize(stream);
          expect(comm.lifeline().holders() == 0, "eager calls hold nothing");
          const auto eager = comm.elements_moved();
          {
            const Captured graph(stream, calls);
            expect(comm.lifeline().holders() == 1, "the graph does not hold it");
            expect(comm.elements_moved() == eager, "a capture moves nothing");
            counts = {0, 0};
            for (int i = 1; i <= 3; ++i) {
              graph.launch();
              comm.synchronize(stream);
              expect(comm.elements_moved() == eager * static_cast<std::uint64_t>(i + 1),
                     "elements of launch ", i);
            }
            expect(value.read() == Floats(3, 16), "four sums over two ranks");
          }
          expect(comm.lifeline().holders() == 0, "a graph that is gone holds it");
        },
        options);
  });
}

TEST_CASE("a capture outside of a scope runs as well, uncounted") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> value(3, 1, stream);
    comm.all_reduce(value.get(), value.get(), 3, stream);
    comm.synchronize(stream);
    const auto eager = comm.elements_moved();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal);
    comm.all_reduce(value.get(), value.get(), 3, stream);
    cudaStreamEndCapture(stream.get(), &graph);
    expect(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess, "instantiation");
    cudaGraphLaunch(exec, stream.get());
    expect(value.read() == Floats(3, 4), "two sums");
    expect(comm.elements_moved() == eager, "elements were counted");
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
  });
}

TEST_CASE("synchronize refuses a stream that is capturing, and the capture goes on") {
  on_comms(1, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> value(3, 1, stream);
    comm.all_reduce(value.get(), value.get(), 3, stream);
    const Captured graph(stream, [&] {
      throws<dpgather::InvalidArgument>([&] { comm.synchronize(stream); },
                                        {"synchronize", "capturing"});
      comm.all_reduce(value.get(), value.get(), 3, stream);
    });
    graph.launch();
    comm.synchronize(stream);
  });
}

}  // namespace
