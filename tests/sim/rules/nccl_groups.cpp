// Groups, and point-to-point operations. NCCL user guide, "Group Calls" and "Point-to-point
// communication".
#include <doctest/doctest.h>

#include "sim/rules/nccl_harness.hpp"

namespace {

using namespace rules;

constexpr int ranks = 2;

std::size_t of(int n) {
  return static_cast<std::size_t>(n);
}

/// Uneven numbers of elements, as ranks of a data-parallel step have.
std::size_t count_of(int rank) {
  return of(rank) * 3 + 2;
}
std::size_t offset_of(int rank) {
  std::size_t offset = 0;
  for (int r = 0; r < rank; ++r) offset += count_of(r);
  return offset;
}

TEST_SUITE("nccl rules: groups") {
  // NCCL guide, Group Calls, Aggregated Operations: several collectives, one launch.
  TEST_CASE("a group of broadcasts, one a root, gathers uneven blocks") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> own(count_of(gpu.rank), gpu.rank + 1);
      const Device<float> all(offset_of(gpu.size), -1);
      good(ncclGroupStart());
      for (int root = 0; root < gpu.size; ++root)
        good(ncclBroadcast(own.get(), all.get() + offset_of(root), count_of(root), ncclFloat, root,
                           comm, gpu.stream));
      good(ncclGroupEnd());
      std::vector<double> want;
      for (int r = 0; r < gpu.size; ++r) want.insert(want.end(), count_of(r), r + 1.0);
      expect_equal(all.values(gpu.stream), want, "gathered");
    });
  }

  // NCCL guide, Group Calls, Aggregated Operations: several collectives, one launch.
  TEST_CASE("a group of reduces, one a root, scatters uneven sums") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      std::vector<float> partial;
      for (int r = 0; r < gpu.size; ++r)
        partial.insert(partial.end(), count_of(r), static_cast<float>(100 * r + gpu.rank));
      const Device<float> all(partial);
      const Device<float> own(count_of(gpu.rank), -1);
      good(ncclGroupStart());
      for (int root = 0; root < gpu.size; ++root)
        good(ncclReduce(all.get() + offset_of(root), own.get(), count_of(root), ncclFloat, ncclSum,
                        root, comm, gpu.stream));
      good(ncclGroupEnd());
      const double want = 100.0 * gpu.rank * gpu.size + gpu.size * (gpu.size - 1) / 2.0;
      expect_equal(own.values(gpu.stream), std::vector<double>(count_of(gpu.rank), want), "sums");
    });
  }

  // NCCL guide, ncclGroupStart, ncclGroupEnd: nothing is started on the stream until the end;
  // groups nest.
  TEST_CASE("nothing is on the stream before the outermost group ends") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> data(8, 1);
      good(ncclGroupStart());
      good(ncclGroupStart());
      good(ncclAllReduce(data.get(), data.get(), 8, ncclFloat, ncclSum, comm, gpu.stream));
      good(ncclGroupEnd());
      expect(cudaStreamQuery(gpu.stream) == cudaSuccess, "the inner end enqueued something");
      good(ncclGroupEnd());
      expect_equal(data.values(gpu.stream), std::vector<double>(8, gpu.size), "sum");
    });
  }

  // NCCL guide, Group Calls: the error of a call in the group is that of its end, and nothing is
  // launched.
  TEST_CASE("a wrong call in a group fails the group as a whole") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> data(8, 1);
      good(ncclGroupStart());
      good(ncclAllReduce(data.get(), data.get(), 8, ncclFloat, ncclSum, comm, gpu.stream));
      expect(ncclBroadcast(data.get(), data.get(), 8, ncclFloat, gpu.size, comm, gpu.stream),
             ncclInvalidArgument, "a root that is no rank");
      expect(ncclGroupEnd(), ncclInvalidArgument, "the group");
      expect_equal(data.values(gpu.stream), std::vector<double>(8, 1.0), "nothing was done");
      good(ncclAllReduce(data.get(), data.get(), 8, ncclFloat, ncclSum, comm, gpu.stream));
      expect_equal(data.values(gpu.stream), std::vector<double>(8, gpu.size), "the next");
    });
  }

  // NCCL sources, group.cc: "not in a group call".
  TEST_CASE("a group that was not started cannot end") {
    on_gpus(1, [](const Gpu&) { expect(ncclGroupEnd(), ncclInvalidUsage, "ncclGroupEnd"); });
  }

  // NCCL guide, ncclGroupStart, ncclGroupEnd.
  TEST_CASE("an empty group does nothing") {
    on_gpus(1, [](const Gpu&) {
      good(ncclGroupStart());
      good(ncclGroupEnd());
    });
  }

  // NCCL guide, Group Calls, Management Of Multiple GPUs From One Thread.
  TEST_CASE("one thread drives several ranks by groups") {
    on_gpus(1, [](const Gpu& first) {
      int devices = 0;
      good(cudaGetDeviceCount(&devices));
      if (devices < 2) return;
      std::vector<ncclComm_t> comms(2);
      std::vector<cudaStream_t> streams(2);
      std::vector<float*> data(2);
      good(ncclGroupStart());
      for (int r = 0; r < 2; ++r) {
        good(cudaSetDevice(r));
        good(cudaStreamCreateWithFlags(&streams[of(r)], cudaStreamNonBlocking));
        good(cudaMalloc(reinterpret_cast<void**>(&data[of(r)]), 4 * sizeof(float)));
        good(cudaMemset(data[of(r)], 0, 4 * sizeof(float)));
        good(ncclCommInitRank(&comms[of(r)], 2, first.id, r));
      }
      good(ncclGroupEnd());
      good(ncclGroupStart());
      for (int r = 0; r < 2; ++r)
        good(ncclAllReduce(data[of(r)], data[of(r)], 4, ncclFloat, ncclSum, comms[of(r)],
                           streams[of(r)]));
      good(ncclGroupEnd());
      for (int r = 0; r < 2; ++r) {
        good(cudaSetDevice(r));
        good(cudaStreamSynchronize(streams[of(r)]));
        good(cudaFree(data[of(r)]));
        good(cudaStreamDestroy(streams[of(r)]));
        good(ncclCommDestroy(comms[of(r)]));
      }
      good(cudaSetDevice(0));
    });
  }

  // NCCL sources, enqueue.cc: streams of a group "must either be all uncaptured or all captured".
  TEST_CASE("a group is all captured or all eager") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      cudaStream_t other = nullptr;
      good(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
      const Device<float> data(8, 1);
      good(ncclAllReduce(data.get(), data.get(), 8, ncclFloat, ncclSum, comm, gpu.stream));
      gpu.wait();
      good(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
      good(ncclGroupStart());
      good(ncclAllReduce(data.get(), data.get(), 4, ncclFloat, ncclSum, comm, gpu.stream));
      expect(ncclAllReduce(data.get() + 4, data.get() + 4, 4, ncclFloat, ncclSum, comm, other),
             ncclInvalidUsage, "an eager stream after a captured one");
      expect(ncclGroupEnd(), ncclInvalidUsage, "the group");
      cudaGraph_t graph = nullptr;
      static_cast<void>(cudaStreamEndCapture(gpu.stream, &graph));
      static_cast<void>(cudaGetLastError());
      if (graph != nullptr) good(cudaGraphDestroy(graph));
      good(cudaStreamDestroy(other));
    });
  }

  // NCCL guide, Mixing Multiple Streams within the same ncclGroupStart/End() group: each waits for
  // all.
  TEST_CASE("a group on two streams waits for both, and both for it") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      cudaStream_t other = nullptr;
      good(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
      const Device<std::uint8_t> a(300, 0), b(300, 0);
      good(cudaMemsetAsync(a.get(), 1, 300, other));
      good(cudaMemsetAsync(b.get(), 2, 300, gpu.stream));
      good(ncclGroupStart());
      good(ncclAllReduce(a.get(), a.get(), 300, ncclUint8, ncclSum, comm, gpu.stream));
      good(ncclAllReduce(b.get(), b.get(), 300, ncclUint8, ncclSum, comm, other));
      good(ncclGroupEnd());
      expect_equal(a.values(other), std::vector<double>(300, gpu.size), "a");
      expect_equal(b.values(gpu.stream), std::vector<double>(300, 2.0 * gpu.size), "b");
      good(cudaStreamSynchronize(other));
      good(cudaStreamDestroy(other));
    });
  }

  // NCCL guide, Point-to-point communication, Sendrecv: what needs each other goes into one group.
  TEST_CASE("ranks exchange by a send and a receive in one group") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const int next = (gpu.rank + 1) % gpu.size;
      const int before = (gpu.rank + gpu.size - 1) % gpu.size;
      const Device<std::int32_t> from(50, gpu.rank), to(50, -1);
      good(ncclGroupStart());
      good(ncclSend(from.get(), 50, ncclInt32, next, comm, gpu.stream));
      good(ncclRecv(to.get(), 50, ncclInt32, before, comm, gpu.stream));
      good(ncclGroupEnd());
      expect_equal(to.on_host(gpu.stream), std::vector<std::int32_t>(50, before), "from before");
    });
  }

  // NCCL guide, Point-to-point communication: in the order of the calls.
  TEST_CASE("messages between two ranks arrive in the order of their sends") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<std::int32_t> a(3, 10 + gpu.rank), b(5, 20 + gpu.rank);
      for (const auto* const buffer : {&a, &b}) {
        if (gpu.rank == 0)
          good(ncclSend(buffer->get(), buffer->size(), ncclInt32, 1, comm, gpu.stream));
        if (gpu.rank == 1)
          good(ncclRecv(buffer->get(), buffer->size(), ncclInt32, 0, comm, gpu.stream));
      }
      expect_equal(a.on_host(gpu.stream), std::vector<std::int32_t>(3, 10), "first");
      expect_equal(b.on_host(gpu.stream), std::vector<std::int32_t>(5, 20), "second");
    });
  }

  // NCCL guide, Point-to-point communication, All-to-all.
  TEST_CASE("a rank may send to and receive from everyone, itself too, in one group") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      std::vector<std::int32_t> mine;
      for (int r = 0; r < gpu.size; ++r) mine.push_back(10 * gpu.rank + r);
      const Device<std::int32_t> from(mine), to(of(gpu.size), -1);
      good(ncclGroupStart());
      for (int r = 0; r < gpu.size; ++r) {
        good(ncclSend(from.get() + r, 1, ncclInt32, r, comm, gpu.stream));
        good(ncclRecv(to.get() + r, 1, ncclInt32, r, comm, gpu.stream));
      }
      good(ncclGroupEnd());
      std::vector<std::int32_t> want;
      for (int r = 0; r < gpu.size; ++r) want.push_back(10 * r + gpu.rank);
      expect_equal(to.on_host(gpu.stream), want, "transposed");
    });
  }
}

}  // namespace
