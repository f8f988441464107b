// Communicators: how they come to be, are split, fail and end. NCCL user guide, "Creating a
// Communicator", "Error handling and communicator abort" and "Communicator Creation and Management
// Functions".
#include <cstring>

#include <doctest/doctest.h>

#include "sim/rules/nccl_harness.hpp"

namespace {

using namespace rules;

constexpr int ranks = 2;

TEST_SUITE("nccl rules: communicators") {
  // NCCL guide, Communicator Creation and Management Functions, ncclGetVersion, ncclGetErrorString.
  TEST_CASE("the version is 2.18 or newer, and every result has a text") {
    int version = 0;
    good(ncclGetVersion(&version));
    CHECK(version >= 21800);
    CHECK(ncclGetVersion(nullptr) == ncclInvalidArgument);
    for (int r = 0; r < ncclNumResults; ++r)
      CHECK(std::strlen(ncclGetErrorString(static_cast<ncclResult_t>(r))) > 0);
    CHECK(ncclGetLastError(nullptr) != nullptr);
  }

  // NCCL guide, Communicator Creation and Management Functions, ncclGetUniqueId: needs no GPU.
  TEST_CASE("unique ids differ") {
    ncclUniqueId a, b;
    CHECK(ncclGetUniqueId(&a) == ncclSuccess);
    CHECK(ncclGetUniqueId(&b) == ncclSuccess);
    CHECK(std::memcmp(&a, &b, sizeof a) != 0);
    CHECK(ncclGetUniqueId(nullptr) == ncclInvalidArgument);
  }

  // NCCL guide, ncclCommCount, ncclCommUserRank, ncclCommCuDevice.
  TEST_CASE("a communicator knows its size, rank and device") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      int size = -1, rank = -1, device = -1;
      good(ncclCommCount(comm, &size));
      good(ncclCommUserRank(comm, &rank));
      good(ncclCommCuDevice(comm, &device));
      expect(size == gpu.size && rank == gpu.rank && device == gpu.rank, "what it says of itself");
      expect(ncclCommCount(comm, nullptr), ncclInvalidArgument, "no place for the count");
    });
  }

  // NCCL guide, ncclCommInitRankConfig and Types, ncclConfig_t: made with NCCL_CONFIG_INITIALIZER.
  TEST_CASE("ranks outside 0 to n - 1, and configs not initialised, are invalid arguments") {
    on_gpus(1, [](const Gpu& gpu) {
      ncclComm_t comm = nullptr;
      expect(ncclCommInitRank(&comm, 1, gpu.id, 1), ncclInvalidArgument, "rank 1 of 1");
      expect(ncclCommInitRank(&comm, 1, gpu.id, -1), ncclInvalidArgument, "rank -1");
      expect(ncclCommInitRank(&comm, 0, gpu.id, 0), ncclInvalidArgument, "no ranks");
      ncclConfig_t config = {};
      expect(ncclCommInitRankConfig(&comm, 1, gpu.id, 0, &config), ncclInvalidArgument,
             "raw config");
      config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 5;
      expect(ncclCommInitRankConfig(&comm, 1, gpu.id, 0, &config), ncclInvalidArgument,
             "blocking 5");
    });
  }

  // NCCL sources, init.cc: destroy, abort and finalize of NULL succeed.
  TEST_CASE("a null communicator is nothing to end and wrong anywhere else") {
    on_gpus(1, [](const Gpu& gpu) {
      good(ncclCommDestroy(nullptr));
      good(ncclCommAbort(nullptr));
      good(ncclCommFinalize(nullptr));
      int n = 0;
      ncclResult_t state = ncclSuccess;
      expect(ncclCommCount(nullptr, &n), ncclInvalidArgument, "count");
      expect(ncclCommGetAsyncError(nullptr, &state), ncclInvalidArgument, "async error");
      const Device<float> data(4, 0);
      expect(ncclAllReduce(data.get(), data.get(), 4, ncclFloat, ncclSum, nullptr, gpu.stream),
             ncclInvalidArgument, "all-reduce");
    });
  }

  // NCCL guide, Types, ncclResult_t, ncclInvalidArgument: leaves the communicator as it was.
  TEST_CASE("wrong types, operators and roots are invalid arguments, and harm nothing") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> data(4, 1);
      float* const p = data.get();
      expect(ncclAllReduce(p, p, 4, ncclNumTypes, ncclSum, comm, gpu.stream), ncclInvalidArgument,
             "type");
      expect(ncclAllReduce(p, p, 4, ncclFloat, ncclNumOps, comm, gpu.stream), ncclInvalidArgument,
             "operator");
      expect(ncclBroadcast(p, p, 4, ncclFloat, gpu.size, comm, gpu.stream), ncclInvalidArgument,
             "root");
      good(ncclAllReduce(p, p, 4, ncclFloat, ncclSum, comm, gpu.stream));
      expect_equal(data.values(gpu.stream), std::vector<double>(4, gpu.size), "sum");
    });
  }

  // NCCL sources, init.cc: "Duplicate GPU detected"; 2.30 and later take an environment variable.
  TEST_CASE("two ranks on one device are refused on both") {
    int version = 0;
    good(ncclGetVersion(&version));
    if (version >= 23000) return;
    ncclUniqueId id;
    good(ncclGetUniqueId(&id));
    on_ranks(2, [&](int rank) {
      good(cudaSetDevice(0));
      ncclComm_t comm = nullptr;
      expect(ncclCommInitRank(&comm, 2, id, rank), ncclInvalidUsage, "ncclCommInitRank");
    });
  }

  // NCCL guide, Creating a communicator with options: ncclInProgress until every rank has called.
  TEST_CASE("a non-blocking communicator is in progress until all ranks have called") {
    on_gpus(ranks, [](const Gpu& gpu) {
      ncclConfig_t config = non_blocking();
      ncclComm_t comm = nullptr;
      if (gpu.rank == 0) {
        expect(ncclCommInitRankConfig(&comm, gpu.size, gpu.id, 0, &config), ncclInProgress, "init");
        for (int i = 0; i < 10; ++i) {
          ncclResult_t state = ncclSuccess;
          good(ncclCommGetAsyncError(comm, &state));
          expect(state, ncclInProgress, "while the others are not there");
        }
        int n = 0;
        expect(ncclCommCount(comm, &n), ncclInvalidArgument, "use of it meanwhile");
        gpu.meet();
      } else {
        gpu.meet();
        expect(ncclCommInitRankConfig(&comm, gpu.size, gpu.id, gpu.rank, &config), ncclInProgress,
               "init");
      }
      good(settle(comm));
      int n = 0;
      good(ncclCommCount(comm, &n));
      expect(n == gpu.size, "size");
      good(ncclCommDestroy(comm));
    });
  }

  // NCCL guide, Nonblocking Group Operation: poll before anything else; then it is on the stream.
  TEST_CASE("an operation of a non-blocking communicator is on its stream once it settles") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const NonBlocking comm(gpu);
      const Device<float> data(64, 1);
      comm.done(ncclAllReduce(data.get(), data.get(), 64, ncclFloat, ncclSum, comm, gpu.stream));
      good(ncclGroupStart());
      for (int i = 0; i < 2; ++i) {
        const ncclResult_t r = ncclAllReduce(data.get() + 32 * i, data.get() + 32 * i, 32,
                                             ncclFloat, ncclSum, comm, gpu.stream);
        expect(r == ncclSuccess || r == ncclInProgress, "in a group");
      }
      comm.done(ncclGroupEnd());
      expect_equal(data.values(gpu.stream),
                   std::vector<double>(64, static_cast<double>(gpu.size * gpu.size)),
                   "sum of sums");
      comm.done(ncclAllReduce(data.get(), data.get(), 0, ncclFloat, ncclSum, comm, gpu.stream));
    });
  }

  // NCCL sources, group.cc: "Blocking and nonblocking communicators are not allowed in the same
  // group".
  TEST_CASE("blocking and non-blocking communicators do not share a group") {
    on_gpus(1, [](const Gpu& gpu) {
      ncclUniqueId other_id;
      good(ncclGetUniqueId(&other_id));
      ncclConfig_t config = non_blocking();
      ncclComm_t comm = nullptr, other = nullptr;
      good(ncclGroupStart());
      static_cast<void>(ncclCommInitRank(&comm, 1, gpu.id, 0));
      static_cast<void>(ncclCommInitRankConfig(&other, 1, other_id, 0, &config));
      expect(ncclGroupEnd(), ncclInvalidArgument, "the group");
    });
  }

  // NCCL guide, ncclCommSplit: a config overrides what is inherited from the parent.
  TEST_CASE("a non-blocking communicator may have blocking children") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const NonBlocking parent(gpu);
      ncclComm_t child = nullptr;
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 1;
      parent.done(ncclCommSplit(parent, 0, gpu.rank, &child, &config));
      const Device<float> data(5, 1);
      good(ncclAllReduce(data.get(), data.get(), 5, ncclFloat, ncclSum, child, gpu.stream));
      expect_equal(data.values(gpu.stream), std::vector<double>(5, gpu.size), "sum");
      good(ncclCommDestroy(child));
    });
  }

  // NCCL guide, ncclCommSplit: by color; ranks by key, then by old rank; NCCL_SPLIT_NOCOLOR gets
  // none.
  TEST_CASE("a split makes a communicator a color, ordered by key") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      ncclComm_t reversed = nullptr, alone = nullptr, some = nullptr, none = comm;
      good(ncclCommSplit(comm, 0, -gpu.rank, &reversed, nullptr));
      good(ncclCommSplit(comm, gpu.rank, 0, &alone, nullptr));
      good(ncclCommSplit(comm, gpu.rank == 0 ? NCCL_SPLIT_NOCOLOR : 7, 0, &some, nullptr));
      good(ncclCommSplit(comm, NCCL_SPLIT_NOCOLOR, 0, &none, nullptr));
      int rank = -1, size = -1;
      good(ncclCommUserRank(reversed, &rank));
      expect(rank == gpu.size - 1 - gpu.rank, "rank by key");
      good(ncclCommCount(alone, &size));
      expect(size == 1, "a color of its own");
      expect((some == nullptr) == (gpu.rank == 0), "without a color there is no communicator");
      expect(none == nullptr, "nor if nobody has one");
      const Device<float> from(1, gpu.rank), to(static_cast<std::size_t>(gpu.size), -1);
      good(ncclAllGather(from.get(), to.get(), 1, ncclFloat, reversed, gpu.stream));
      const auto got = to.values(gpu.stream);
      for (int r = 0; r < gpu.size; ++r)
        expect(got[static_cast<std::size_t>(r)] == gpu.size - 1 - r, "gathered in the new order");
      for (const ncclComm_t child : {reversed, alone, some}) good(ncclCommDestroy(child));
    });
  }

  // NCCL guide, ncclCommSplit: the new communicator is there once the parent has settled, and
  // polled on its own.
  TEST_CASE("a split of a non-blocking communicator is polled") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const NonBlocking comm(gpu);
      ncclComm_t child = nullptr;
      comm.done(ncclCommSplit(comm, 0, gpu.rank, &child, nullptr));
      expect(child != nullptr, "there once the parent has settled");
      good(settle(child));
      const Device<float> data(5, 1);
      const ncclResult_t r =
          ncclAllReduce(data.get(), data.get(), 5, ncclFloat, ncclSum, child, gpu.stream);
      expect(r == ncclSuccess || r == ncclInProgress, "an operation");
      good(settle(child));
      expect_equal(data.values(gpu.stream), std::vector<double>(5, gpu.size), "sum");
      good(ncclCommDestroy(child));
    });
  }

  // NCCL guide, Finalizing a communicator, Destroying a communicator.
  TEST_CASE("finalize waits for what was issued, once, and then destroy") {
    on_gpus(ranks, [](const Gpu& gpu) {
      ncclComm_t comm = nullptr;
      good(ncclCommInitRank(&comm, gpu.size, gpu.id, gpu.rank));
      const Device<float> data(100, 1);
      good(ncclAllReduce(data.get(), data.get(), 100, ncclFloat, ncclSum, comm, gpu.stream));
      good(ncclCommFinalize(comm));
      expect(cudaStreamQuery(gpu.stream) == cudaSuccess, "the operation is done");
      expect(ncclCommFinalize(comm), ncclInvalidArgument, "a second time");
      good(ncclCommDestroy(comm));
      expect_equal(data.values(gpu.stream), std::vector<double>(100, gpu.size), "sum");
    });
  }

  // NCCL guide, Finalizing a communicator: its state goes from ncclInProgress to ncclSuccess.
  TEST_CASE("finalize of a non-blocking communicator is polled") {
    on_gpus(ranks, [](const Gpu& gpu) {
      ncclConfig_t config = non_blocking();
      ncclComm_t comm = nullptr;
      expect(ncclCommInitRankConfig(&comm, gpu.size, gpu.id, gpu.rank, &config), ncclInProgress,
             "init");
      good(settle(comm));
      expect(ncclCommFinalize(comm), ncclInProgress, "finalize");
      good(settle(comm));
      good(ncclCommDestroy(comm));
    });
  }

  // NCCL guide, Error handling and communicator abort, ncclCommAbort: ends what still runs on the
  // device.
  TEST_CASE("abort frees a stream from an operation that a peer never joined") {
    on_gpus(ranks, [](const Gpu& gpu) {
      ncclConfig_t config = non_blocking();
      ncclComm_t comm = nullptr;
      expect(ncclCommInitRankConfig(&comm, gpu.size, gpu.id, gpu.rank, &config), ncclInProgress,
             "init");
      good(settle(comm));
      const Device<float> data(16, 1), other(16, 2);
      const auto reduce = [&](const Device<float>& of) {
        const ncclResult_t r =
            ncclAllReduce(of.get(), of.get(), 16, ncclFloat, ncclSum, comm, gpu.stream);
        expect(r == ncclSuccess || r == ncclInProgress, "all-reduce");
        good(settle(comm));
      };
      reduce(data);  // all join; connections are there
      gpu.wait();
      if (gpu.rank == 0) {
        reduce(data);  // alone
        expect(cudaStreamQuery(gpu.stream) == cudaErrorNotReady, "stuck");
      }
      good(ncclCommAbort(comm));
      gpu.wait();
      expect_equal(other.values(gpu.stream), std::vector<double>(16, 2.0), "the stream goes on");
      gpu.meet();
    });
  }

  // NCCL guide, Error handling and communicator abort: a communicator that never came to be can be
  // aborted.
  TEST_CASE("abort gives up an initialisation that a peer never joins") {
    on_gpus(ranks, [](const Gpu& gpu) {
      if (gpu.rank == 0) {
        ncclConfig_t config = non_blocking();
        ncclComm_t comm = nullptr;
        expect(ncclCommInitRankConfig(&comm, gpu.size, gpu.id, 0, &config), ncclInProgress, "init");
        good(ncclCommAbort(comm));
      }
    });
  }
}

}  // namespace
