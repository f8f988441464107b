// NCCL in CUDA graphs. NCCL user guide, "Using NCCL with CUDA Graphs".
#include <doctest/doctest.h>

#include "sim/rules/nccl_harness.hpp"

namespace {

using namespace rules;

constexpr int ranks = 2;

std::size_t of(int n) {
  return static_cast<std::size_t>(n);
}

TEST_SUITE("nccl rules: graphs") {
  // NCCL guide, Using NCCL with CUDA Graphs.
  TEST_CASE("a captured collective runs at each launch, on what its buffers hold then") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<std::uint8_t> from(100, 9), to(100 * of(gpu.size), 9);
      const auto gather = [&] {
        good(ncclAllGather(from.get(), to.get(), 100, ncclUint8, comm, gpu.stream));
      };
      gather();  // warm-up
      gpu.wait();
      good(cudaMemset(to.get(), 9, to.bytes()));
      const Graph graph(capture(gpu.stream, gather));
      expect_equal(to.values(gpu.stream), std::vector<double>(to.size(), 9.0), "not at capture");
      for (int step = 0; step < 5; ++step) {
        good(cudaMemsetAsync(from.get(), 10 * gpu.rank + step, 100, gpu.stream));
        graph.launch(gpu.stream);
        const auto all = to.on_host(gpu.stream);
        for (std::size_t i = 0; i < all.size(); ++i)
          expect(all[i] == 10 * (i / 100) + of(step), "step " + std::to_string(step));
      }
    });
  }

  // NCCL guide, Using NCCL with CUDA Graphs: collectives, p2p and groups can be captured.
  TEST_CASE("several operations and groups in one graph keep their order") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> data(30, 1), block(30, 0), all(30 * of(gpu.size), 0);
      const auto work = [&] {
        good(ncclAllReduce(data.get(), data.get(), 30, ncclFloat, ncclSum, comm, gpu.stream));
        good(ncclGroupStart());
        for (int r = 0; r < gpu.size; ++r)
          good(ncclBroadcast(data.get(), all.get() + 30 * of(r), 30, ncclFloat, r, comm,
                             gpu.stream));
        good(ncclGroupEnd());
        good(ncclReduceScatter(all.get(), block.get(), 30, ncclFloat, ncclSum, comm, gpu.stream));
        good(cudaMemcpyAsync(data.get(), block.get(), data.bytes(), cudaMemcpyDeviceToDevice,
                             gpu.stream));
      };
      work();
      const Graph graph(capture(gpu.stream, work));
      for (int i = 0; i < 2; ++i) graph.launch(gpu.stream);  // the second right behind the first
      double want = 1;
      for (int i = 0; i < 3; ++i) want *= gpu.size * gpu.size;
      expect_equal(data.values(gpu.stream), std::vector<double>(30, want), "after three steps");
    });
  }

  // NCCL guide, Using NCCL with CUDA Graphs: outstanding operations may be any combination of
  // captured and not.
  TEST_CASE("captured and eager operations of one communicator mix") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> data(10, 1);
      const auto reduce = [&] {
        good(ncclAllReduce(data.get(), data.get(), 10, ncclFloat, ncclSum, comm, gpu.stream));
      };
      reduce();
      const Graph graph(capture(gpu.stream, reduce));
      double want = gpu.size;
      for (int i = 0; i < 3; ++i) {
        graph.launch(gpu.stream);
        reduce();
        want *= gpu.size * gpu.size;
      }
      expect_equal(data.values(gpu.stream), std::vector<double>(10, want), "all in order");
    });
  }

  // NCCL guide, Using NCCL with CUDA Graphs, CUDA Stream Semantics.
  TEST_CASE("a graph forks and joins around a collective") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      cudaStream_t side = nullptr;
      cudaEvent_t fork = nullptr, join = nullptr;
      good(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
      good(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
      good(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
      const Device<std::uint8_t> data(200, 0), copy(200, 0);
      const auto reduce = [&](cudaStream_t stream) {
        good(ncclAllReduce(data.get(), data.get(), 200, ncclUint8, ncclSum, comm, stream));
      };
      reduce(gpu.stream);
      {
        const Graph graph(capture(gpu.stream, [&] {
          good(cudaMemsetAsync(data.get(), 2, 200, gpu.stream));
          good(cudaEventRecord(fork, gpu.stream));
          good(cudaStreamWaitEvent(side, fork, 0));
          reduce(side);
          good(cudaEventRecord(join, side));
          good(cudaStreamWaitEvent(gpu.stream, join, 0));
          good(cudaMemcpyAsync(copy.get(), data.get(), 200, cudaMemcpyDeviceToDevice, gpu.stream));
        }));
        graph.launch(gpu.stream);
        expect_equal(copy.values(gpu.stream), std::vector<double>(200, 2.0 * gpu.size), "sum");
      }
      good(cudaEventDestroy(fork));
      good(cudaEventDestroy(join));
      good(cudaStreamDestroy(side));
    });
  }

  // NCCL guide, Using NCCL with CUDA Graphs, Nonblocking Group Operation.
  TEST_CASE("a non-blocking communicator is captured when it settles within the capture") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const NonBlocking comm(gpu);
      const Device<float> data(10, 1);
      const auto reduce = [&] {
        comm.done(ncclAllReduce(data.get(), data.get(), 10, ncclFloat, ncclSum, comm, gpu.stream));
      };
      reduce();
      const Graph graph(capture(gpu.stream, reduce));
      graph.launch(gpu.stream);
      const auto want = static_cast<double>(gpu.size * gpu.size);
      expect_equal(data.values(gpu.stream), std::vector<double>(10, want), "sum of sums");
    });
  }

  // NCCL sources, init.cc: destroying waits until all graphs that hold the communicator are gone.
  TEST_CASE("a communicator ends once the graphs that hold it are gone") {
    on_gpus(ranks, [](const Gpu& gpu) {
      ncclComm_t comm = nullptr;
      good(ncclCommInitRank(&comm, gpu.size, gpu.id, gpu.rank));
      const Device<float> data(10, 1);
      const auto reduce = [&] {
        good(ncclAllReduce(data.get(), data.get(), 10, ncclFloat, ncclSum, comm, gpu.stream));
      };
      reduce();
      {
        const Graph graph(capture(gpu.stream, reduce));
        graph.launch(gpu.stream);
        gpu.wait();
      }
      good(ncclCommDestroy(comm));
    });
  }

  // NCCL guide, Using NCCL with CUDA Graphs: nothing runs at capture.
  TEST_CASE("a capture that is given up leaves communicator and stream usable") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> data(10, 1);
      const auto reduce = [&] {
        good(ncclAllReduce(data.get(), data.get(), 10, ncclFloat, ncclSum, comm, gpu.stream));
      };
      reduce();
      good(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
      if (gpu.rank == 0) reduce();  // the others fail before
      cudaGraph_t graph = nullptr;
      good(cudaStreamEndCapture(gpu.stream, &graph));
      good(cudaGraphDestroy(graph));
      reduce();
      const auto want = static_cast<double>(gpu.size * gpu.size);
      expect_equal(data.values(gpu.stream), std::vector<double>(10, want), "sum of sums");
    });
  }
}

}  // namespace
