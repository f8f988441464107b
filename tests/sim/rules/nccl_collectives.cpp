// What each collective does with data. NCCL user guide, "Collective Operations", "In-place
// Operations" and "Collective Communication Functions".
#include <initializer_list>

#include <doctest/doctest.h>

#include "sim/rules/nccl_harness.hpp"

namespace {

using namespace rules;

constexpr int ranks = 2;

/// Element i of rank r before anything happened; sums of a few stay exact in 8 bits.
int input(int rank, std::size_t i) {
  return rank * 10 + static_cast<int>(i % 7) + 1;
}

template <class T>
std::vector<T> inputs(int rank, std::size_t count) {
  std::vector<T> all;
  for (std::size_t i = 0; i < count; ++i) all.push_back(number<T>(input(rank, i)));
  return all;
}

double sum(int size, std::size_t i) {
  double total = 0;
  for (int r = 0; r < size; ++r) total += input(r, i);
  return total;
}

template <class T>
std::vector<double> gathered(int size, std::size_t count) {
  std::vector<double> all;
  for (int r = 0; r < size; ++r)
    for (const T element : inputs<T>(r, count)) all.push_back(value(element));
  return all;
}

std::vector<double> sums(int size, std::size_t first, std::size_t count) {
  std::vector<double> all;
  for (std::size_t i = first; i < first + count; ++i) all.push_back(sum(size, i));
  return all;
}

std::size_t of(int n) {
  return static_cast<std::size_t>(n);
}

TEST_SUITE("nccl rules: collectives") {
  // NCCL guide, Collective Operations, AllGather: receives data from rank i at offset i *
  // sendcount.
  TEST_CASE_TEMPLATE("all-gather puts rank i's elements at i * count", T, std::int8_t, std::uint8_t,
                     std::int32_t, std::int64_t, __half, __nv_bfloat16, float, double) {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      for (const std::size_t count : std::initializer_list<std::size_t>{1, 5, 64, 333}) {
        const Device<T> from(inputs<T>(gpu.rank, count));
        const Device<T> to(count * of(gpu.size), 0);
        good(ncclAllGather(from.get(), to.get(), count, type_of<T>, comm, gpu.stream));
        expect_equal(to.values(gpu.stream), gathered<T>(gpu.size, count), "all-gather");
      }
    });
  }

  // NCCL guide, In-place Operations: sendbuff == recvbuff + rank * sendcount.
  TEST_CASE("all-gather in place takes a rank's elements from where they end up") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const std::size_t count = 100;
      std::vector<float> mine(count * of(gpu.size), -1.0f);
      const std::vector<float> own = inputs<float>(gpu.rank, count);
      std::copy(own.begin(), own.end(),
                mine.begin() + gpu.rank * static_cast<std::ptrdiff_t>(count));
      const Device<float> all(mine);
      good(ncclAllGather(all.get() + of(gpu.rank) * count, all.get(), count, ncclFloat, comm,
                         gpu.stream));
      expect_equal(all.values(gpu.stream), gathered<float>(gpu.size, count), "in place");
    });
  }

  // NCCL guide, Collective Operations, AllReduce: identical copies of the result in each recvbuff.
  TEST_CASE_TEMPLATE("all-reduce leaves the sum on every rank", T, std::int8_t, std::uint8_t,
                     std::int32_t, std::uint32_t, std::int64_t, std::uint64_t, __half,
                     __nv_bfloat16, float, double) {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      for (const std::size_t count : std::initializer_list<std::size_t>{1, 7, 250}) {
        const Device<T> from(inputs<T>(gpu.rank, count));
        const Device<T> to(count, 0);
        good(ncclAllReduce(from.get(), to.get(), count, type_of<T>, ncclSum, comm, gpu.stream));
        expect_equal(to.values(gpu.stream), sums(gpu.size, 0, count), "all-reduce");
        expect_equal(
            from.values(gpu.stream),
            [&] {
              std::vector<double> before;
              for (const T element : inputs<T>(gpu.rank, count)) before.push_back(value(element));
              return before;
            }(),
            "sendbuff");
        good(ncclAllReduce(from.get(), from.get(), count, type_of<T>, ncclSum, comm, gpu.stream));
        expect_equal(from.values(gpu.stream), sums(gpu.size, 0, count), "in place");
      }
    });
  }

  // NCCL guide, Types, ncclRedOp_t.
  TEST_CASE("max, min, product and average are what they say") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> from(inputs<float>(gpu.rank, 1));
      const Device<float> to(1, 0);
      const auto reduced = [&](ncclRedOp_t op) {
        good(ncclAllReduce(from.get(), to.get(), 1, ncclFloat, op, comm, gpu.stream));
        return to.values(gpu.stream)[0];
      };
      expect(reduced(ncclMax) == input(gpu.size - 1, 0), "max");
      expect(reduced(ncclMin) == input(0, 0), "min");
      double product = 1;
      for (int r = 0; r < gpu.size; ++r) product *= input(r, 0);
      expect(reduced(ncclProd) == product, "product");
      expect(reduced(ncclAvg) == sum(gpu.size, 0) / gpu.size, "average");
    });
  }

  // NCCL guide, Collective Operations, ReduceScatter: rank i gets the i-th block.
  TEST_CASE_TEMPLATE("reduce-scatter leaves block i of the sum on rank i", T, std::int32_t, __half,
                     __nv_bfloat16, float, double) {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      for (const std::size_t count : std::initializer_list<std::size_t>{1, 6, 129}) {
        const std::size_t all = count * of(gpu.size);
        const Device<T> from(inputs<T>(gpu.rank, all));
        const Device<T> to(count, 0);
        good(ncclReduceScatter(from.get(), to.get(), count, type_of<T>, ncclSum, comm, gpu.stream));
        const auto want = sums(gpu.size, of(gpu.rank) * count, count);
        expect_equal(to.values(gpu.stream), want, "reduce-scatter");
        // In place: recvbuff == sendbuff + rank * recvcount.
        T* const block = from.get() + of(gpu.rank) * count;
        good(ncclReduceScatter(from.get(), block, count, type_of<T>, ncclSum, comm, gpu.stream));
        const auto after = from.values(gpu.stream);
        const auto begin = after.begin() + gpu.rank * static_cast<std::ptrdiff_t>(count);
        expect_equal(std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(count)), want,
                     "in place");
      }
    });
  }

  // NCCL guide, Collective Operations, Broadcast, and ncclBroadcast: sendbuff is only used on the
  // root.
  TEST_CASE("broadcast copies the root's elements, from the root's sendbuff alone") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const std::size_t count = 33;
      for (int root = 0; root < gpu.size; ++root) {
        const Device<std::int32_t> from(inputs<std::int32_t>(gpu.rank, count));
        const Device<std::int32_t> to(count, 0);
        const void* const sent = gpu.rank == root ? from.get() : nullptr;
        good(ncclBroadcast(sent, to.get(), count, ncclInt32, root, comm, gpu.stream));
        expect_equal(to.on_host(gpu.stream), inputs<std::int32_t>(root, count), "broadcast");
        good(ncclBcast(from.get(), count, ncclInt32, root, comm, gpu.stream));
        expect_equal(from.on_host(gpu.stream), inputs<std::int32_t>(root, count), "in place");
      }
    });
  }

  // NCCL guide, Collective Communication Functions, ncclReduce: recvbuff may be NULL except on the
  // root.
  TEST_CASE("reduce leaves the sum on the root, which alone needs a recvbuff") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const std::size_t count = 20;
      for (int root = 0; root < gpu.size; ++root) {
        const Device<double> from(inputs<double>(gpu.rank, count));
        const Device<double> to(count, 0);
        void* const received = gpu.rank == root ? to.get() : nullptr;
        good(ncclReduce(from.get(), received, count, ncclDouble, ncclSum, root, comm, gpu.stream));
        gpu.wait();
        if (gpu.rank == root)
          expect_equal(to.values(gpu.stream), sums(gpu.size, 0, count), "reduce");
        good(
            ncclReduce(from.get(), from.get(), count, ncclDouble, ncclSum, root, comm, gpu.stream));
        gpu.wait();
        if (gpu.rank == root)
          expect_equal(from.values(gpu.stream), sums(gpu.size, 0, count), "self");
      }
    });
  }

  // NCCL sources, enqueue.cc: dropped before it is enqueued. Not in the guide.
  TEST_CASE("a collective of no elements is legal, does nothing and waits for nobody") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Device<float> from(4, 3);
      const Device<float> to(4 * of(gpu.size), 5);
      if (gpu.rank == 0) {  // alone
        good(ncclAllGather(from.get(), to.get(), 0, ncclFloat, comm, gpu.stream));
        good(ncclAllReduce(from.get(), to.get(), 0, ncclFloat, ncclSum, comm, gpu.stream));
        good(ncclBroadcast(from.get(), to.get(), 0, ncclFloat, 1, comm, gpu.stream));
        expect_equal(to.values(gpu.stream), std::vector<double>(to.size(), 5.0), "untouched");
      }
      gpu.meet();
      good(ncclAllReduce(from.get(), from.get(), 4, ncclFloat, ncclSum, comm, gpu.stream));
      expect_equal(from.values(gpu.stream), std::vector<double>(4, 3.0 * gpu.size), "next");
    });
  }

  // NCCL guide, CUDA Stream Semantics: a call returns when the operation is enqueued.
  TEST_CASE("collectives run in the order of their stream") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const std::size_t count = 1000;
      const Device<std::uint8_t> from(count, 0);
      const Device<std::uint8_t> to(count * of(gpu.size), 0);
      good(cudaMemsetAsync(from.get(), gpu.rank + 1, count, gpu.stream));
      good(ncclAllGather(from.get(), to.get(), count, ncclUint8, comm, gpu.stream));
      good(cudaMemsetAsync(from.get(), 77, count, gpu.stream));  // after it has been sent
      good(ncclAllReduce(to.get(), to.get(), to.size(), ncclUint8, ncclSum, comm, gpu.stream));
      const auto all = to.on_host(gpu.stream);
      for (std::size_t i = 0; i < all.size(); ++i)
        expect(all[i] == (i / count + 1) * of(gpu.size), "element " + std::to_string(i));
    });
  }

  // NCCL guide, CUDA Stream Semantics: as for any work of a stream.
  TEST_CASE("events order collectives with other streams") {
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const std::size_t count = 500;
      cudaStream_t other = nullptr;
      cudaEvent_t filled = nullptr, done = nullptr;
      good(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
      good(cudaEventCreateWithFlags(&filled, cudaEventDisableTiming));
      good(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
      const Device<std::uint8_t> data(count, 0);
      good(cudaMemsetAsync(data.get(), 3, count, other));
      good(cudaEventRecord(filled, other));
      good(cudaStreamWaitEvent(gpu.stream, filled, 0));
      good(ncclAllReduce(data.get(), data.get(), count, ncclUint8, ncclSum, comm, gpu.stream));
      good(cudaEventRecord(done, gpu.stream));
      good(cudaStreamWaitEvent(other, done, 0));
      expect_equal(data.on_host(other),
                   std::vector<std::uint8_t>(count, static_cast<std::uint8_t>(3 * gpu.size)),
                   "sum");
      good(cudaEventDestroy(filled));
      good(cudaEventDestroy(done));
      good(cudaStreamDestroy(other));
    });
  }
}

}  // namespace
