// Schedules and kernels: what the simulation makes of the freedom that CUDA has.
#include <set>

#include <doctest/doctest.h>

#include "sim/kernel.hpp"

namespace {

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

}  // namespace

TEST_SUITE("simulation: device work") {
  TEST_CASE("work runs late by default: hardly before somebody waits") {
    int early = 0;
    for (std::uint64_t seed = 1; seed <= 100; ++seed)
      sim::run({.seed = seed}, [&](int) {
        const cudaStream_t stream = new_stream();
        bool ran = false;
        sim::enqueue(stream, {.name = "w", .run = [&ran] { ran = true; }});
        int device = 0;
        static_cast<void>(cudaGetDevice(&device));
        early += ran ? 1 : 0;
        CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
        CHECK(ran);
      });
    CHECK(early < 30);
  }

  TEST_CASE("an eager schedule runs work before the next call is done") {
    sim::run({.schedule = sim::Schedule::eager}, [](int) {
      bool ran = false;
      sim::enqueue(nullptr, {.name = "w", .run = [&ran] { ran = true; }});
      int device = 0;
      static_cast<void>(cudaGetDevice(&device));
      CHECK(ran);
    });
  }

  TEST_CASE("streams without an order run in any order") {
    std::set<int> orders;
    for (std::uint64_t seed = 1; seed <= 40; ++seed)
      sim::run({.seed = seed}, [&](int) {
        int order = 0;
        for (int digit = 1; digit <= 3; ++digit)
          sim::enqueue(new_stream(),
                       {.name = "w", .run = [&order, digit] { order = order * 10 + digit; }});
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        orders.insert(order);
      });
    CHECK(orders == std::set{123, 132, 213, 231, 312, 321});
  }

  TEST_CASE("a missing event wait is seen by most schedules") {
    int wrong = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed)
      sim::run({.seed = seed}, [&](int) {
        const cudaStream_t a = new_stream(), b = new_stream();
        int value = 0, seen = 0;
        sim::enqueue(a, {.name = "write", .run = [&] { value = 1; }});
        sim::enqueue(b, {.name = "read", .run = [&] { seen = value; }});
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        wrong += seen == 1 ? 0 : 1;
      });
    CHECK(wrong > 10);
  }

  TEST_CASE("rows of a kernel run once each, in any order, with other work in between") {
    bool out_of_order = false, interleaved = false;
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
      sim::run({.seed = seed}, [&](int) {
        std::vector<std::int64_t> rows;
        std::size_t at = 0;
        sim::launch_kernel(new_stream(), "k", 50,
                           [&rows](std::int64_t row) { rows.push_back(row); });
        sim::enqueue(new_stream(), {.name = "other", .run = [&] { at = rows.size(); }});
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        out_of_order = out_of_order || !std::is_sorted(rows.begin(), rows.end());
        interleaved = interleaved || (at != 0 && at != 50);
        CHECK(std::set<std::int64_t>(rows.begin(), rows.end()).size() == 50);
        CHECK(rows.size() == 50);
      });
    CHECK(out_of_order);
    CHECK(interleaved);
  }

  TEST_CASE("threads of a block meet at a barrier") {
    sim::run({}, [](int) {
      std::vector<unsigned> out(64);
      sim::enqueue(nullptr, {.name = "reverse", .run = [&out] {
                               std::vector<unsigned> shared(32);
                               sim::run_grid({2}, {32}, [&] {
                                 const unsigned t = sim::simt().thread_index.x;
                                 shared[t] = t + 100 * sim::simt().block_index.x;
                                 sim::sync_threads();
                                 out[sim::simt().block_index.x * 32 + t] = shared[31 - t];
                               });
                             }});
      CHECK(cudaDeviceSynchronize() == cudaSuccess);
      for (unsigned i = 0; i < 64; ++i) CHECK(out[i] == 31 - i % 32 + 100 * (i / 32));
    });
  }

  TEST_CASE("a kernel for a stream of another device is refused") {
    sim::run({.devices = 2}, [](int) {
      const cudaStream_t stream = new_stream();
      CHECK(cudaSetDevice(1) == cudaSuccess);
      CHECK(sim::launch_kernel(stream, "k", 1, [](std::int64_t) {}) ==
            cudaErrorInvalidResourceHandle);
    });
  }

  TEST_CASE("an exception of a kernel is a violation, and the device is lost") {
    CHECK_THROWS_AS(sim::run({},
                             [](int) {
                               sim::launch_kernel(nullptr, "k", 1, [](std::int64_t) {
                                 throw std::runtime_error("trap");
                               });
                               CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
                               CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
                             }),
                    sim::Violation);
  }

  TEST_CASE("device work may not call CUDA") {
    sim::run({}, [](int) {
      cudaError_t result = cudaSuccess;
      sim::enqueue(nullptr, {.name = "host function",
                             .kind = sim::Count::host_function,
                             .run = [&] { result = cudaDeviceSynchronize(); }});
      CHECK(cudaDeviceSynchronize() == cudaSuccess);
      CHECK(result == cudaErrorNotPermitted);
    });
  }
}
