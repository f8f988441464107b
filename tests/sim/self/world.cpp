// The simulation itself: what only it decides, beside the rules that a GPU shares.
#include "sim/world.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include <doctest/doctest.h>

#include <dpgather/comm/thread/hub.hpp>

namespace {

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

/// What `f` throws as an E, or "".
template <class E, class F>
std::string thrown(F f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("simulation: world") {
  TEST_CASE("the same seed gives the same schedule, another seed another") {
    const auto order_of = [](std::uint64_t seed) {
      std::vector<int> order;
      sim::run({.ranks = 4, .seed = seed}, [&](int rank) {
        for (int i = 0; i < 20; ++i) {
          int device = 0;
          CHECK(cudaGetDevice(&device) == cudaSuccess);
          order.push_back(rank);
        }
      });
      return order;
    };
    CHECK(order_of(7) == order_of(7));
    CHECK(order_of(7) != order_of(8));
  }

  TEST_CASE("a yield of a rank lets others run") {
    int inside = 0, most = 0;
    sim::run({.ranks = 4}, [&](int) {
      for (int i = 0; i < 50; ++i) {
        int device = 0;
        static_cast<void>(cudaGetDevice(&device));
        most = std::max(most, ++inside);
        std::this_thread::yield();  // of a rank: may pass the baton
        --inside;
      }
    });
    CHECK(most > 1);  // inside the calls of others, not beside them: nothing here is atomic
  }

  TEST_CASE("the error of the first rank to throw comes out, after all ranks ended") {
    int ended = 0;
    CHECK_THROWS_WITH(sim::run({.ranks = 3},
                               [&](int rank) {
                                 int device = 0;
                                 static_cast<void>(cudaGetDevice(&device));
                                 ++ended;
                                 if (rank == 1) throw std::runtime_error("of rank 1");
                               }),
                      "of rank 1");
    CHECK(ended == 3);
  }

  TEST_CASE("an error that a peer has failed comes out only if there is no other") {
    CHECK_THROWS_WITH(sim::run({.ranks = 2},
                               [&](int rank) {
                                 if (rank == 0) throw dpgather::PeerError({}, "a peer failed");
                                 std::this_thread::sleep_for(std::chrono::seconds(1));
                                 throw std::runtime_error("why");
                               }),
                      "why");
  }

  TEST_CASE("the same seed gives the same device work, at the same virtual time") {
    const auto run = [](std::uint64_t seed) {
      std::string order;
      const auto report = sim::run({.ranks = 3, .seed = seed}, [&](int rank) {
        const cudaStream_t stream = new_stream();
        for (int i = 0; i < 5; ++i) {
          sim::enqueue(stream,
                       {.name = "w", .run = [&order, rank] { order += std::to_string(rank); }});
          std::this_thread::yield();
        }
        CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
      });
      return order + " " + std::to_string(report.virtual_s);
    };
    std::set<std::string> orders;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      orders.insert(run(seed));
      CHECK(run(seed) == run(seed));
    }
    CHECK(orders.size() > 10);
  }

  TEST_CASE("time is virtual: an hour of sleep costs nothing and wakes in order") {
    std::vector<int> order;
    const auto started = std::chrono::steady_clock::now();
    const auto report = sim::run({.ranks = 3}, [&](int rank) {
      const auto before = std::chrono::steady_clock::now();
      std::this_thread::sleep_for(std::chrono::minutes(60 - 10 * rank));
      CHECK(std::chrono::steady_clock::now() - before >= std::chrono::minutes(60 - 10 * rank));
      order.push_back(rank);
    });
    CHECK(order == std::vector{2, 1, 0});
    CHECK(report.virtual_s >= 3600);
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::minutes(5));
  }

  TEST_CASE("a library wait on a rank that never comes ends at the library's own deadline") {
    const auto hub = std::make_shared<dpgather::ThreadHub>(3);
    const auto what = thrown<dpgather::TimeoutError>([&] {
      sim::run({.ranks = 3}, [&](int rank) {
        if (rank != 1) hub->enter(rank, {.rank = rank, .operation = "barrier"});
      });
    });
    CHECK(contains(what, "from ranks 1"));
    CHECK(sim::last_report().deadlock.empty());
  }

  TEST_CASE("threads that a rank starts take part, and belong to it") {
    sim::run({.ranks = 2}, [](int rank) {
      std::mutex mutex;
      std::condition_variable changed;
      bool stop = false;
      int ticks = 0;
      std::thread watchdog([&] {
        CHECK(sim::rank() == rank);
        std::unique_lock lock(mutex);
        while (!changed.wait_for(lock, std::chrono::seconds(1), [&] { return stop; })) ++ticks;
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(5500));
      {
        const std::lock_guard lock(mutex);
        stop = true;
      }
      changed.notify_all();
      watchdog.join();
      CHECK(ticks == 5);
    });
  }

  TEST_CASE("a rank that waits for ever is a deadlock, which names every rank's call") {
    std::vector<cudaError_t> results(2);
    const auto what = thrown<sim::Deadlock>([&] {
      sim::run({.ranks = 2}, [&](int rank) {
        if (rank == 1) return;
        const cudaStream_t stream = new_stream();
        sim::enqueue(stream, {.name = "all_gather #3 of comm 1",
                              .kind = sim::Count::collective,
                              .ready = [] { return false; },
                              .waits_for = [] { return "waits for rank 1"; }});
        results[0] = cudaStreamSynchronize(stream);
      });
    });
    CHECK(contains(what, "rank 0: in cudaStreamSynchronize(stream"));
    CHECK(contains(what, "rank 1: has ended"));
    CHECK(contains(what, "front: all_gather #3 of comm 1 of rank 0, waits for rank 1"));
    CHECK(results[0] != cudaSuccess);
  }

  TEST_CASE("a rank that polls for ever is a deadlock as well") {
    const auto what = thrown<sim::Deadlock>([] {
      sim::run({}, [](int) {
        const cudaStream_t stream = new_stream();
        sim::enqueue(stream, {.name = "never", .ready = [] { return false; }});
        while (cudaStreamQuery(stream) == cudaErrorNotReady) {
        }
      });
    });
    CHECK(contains(what, "in cudaStreamQuery"));
  }

  TEST_CASE("a wait with no way out ends too: the thread is given up") {
    const auto what = thrown<sim::Deadlock>([] {
      sim::run({.ranks = 2}, [](int rank) {
        static std::atomic<int> word{0};
        while (rank == 1 && word.load() == 0) word.wait(0);
      });
    });
    CHECK(contains(what, "rank 1: in its own code, waits"));
    int ran = 0;
    sim::run({.ranks = 2}, [&](int) { ++ran; });
    CHECK(ran == 2);
  }

  TEST_CASE("a fault hits the call that it names, and no other") {
    const auto body = [](int) {
      int device = 0;
      return std::vector{cudaGetDevice(&device), cudaGetDevice(&device), cudaGetDevice(&device)};
    };
    std::vector<std::vector<cudaError_t>> results(2);
    const auto report = sim::run(
        {.ranks = 2, .faults = {{.rank = 1, .call = 1, .cuda = cudaErrorMemoryAllocation}}},
        [&](int rank) { results[static_cast<std::size_t>(rank)] = body(rank); });
    CHECK(report.ranks[1].calls == 3);
    CHECK(results[0] == std::vector{cudaSuccess, cudaSuccess, cudaSuccess});
    CHECK(results[1] == std::vector{cudaSuccess, cudaErrorMemoryAllocation, cudaSuccess});
  }

  TEST_CASE("a sticky error stays with its device") {
    sim::run({.ranks = 1, .devices = 2, .faults = {{.call = 0, .cuda = cudaErrorIllegalAddress}}},
             [](int) {
               void* pointer = nullptr;
               CHECK(cudaMalloc(&pointer, 4) == cudaErrorIllegalAddress);
               CHECK(cudaMalloc(&pointer, 4) == cudaErrorIllegalAddress);
               CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
               CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
               CHECK(cudaSetDevice(1) == cudaSuccess);
               CHECK(cudaMalloc(&pointer, 4) == cudaSuccess);
               CHECK(cudaFree(pointer) == cudaSuccess);
             });
  }

  TEST_CASE("a rank that stops for good makes no call from there on, until all others are done") {
    std::vector<int> reached(2), went_on(2);
    sim::run({.ranks = 2, .faults = {{.rank = 0, .call = 1, .stops = true}}}, [&](int rank) {
      int device = 0;
      for (int i = 0; i < 3 && cudaGetDevice(&device) == cudaSuccess; ++i)
        ++reached[static_cast<std::size_t>(rank)];
      if (rank == 0) went_on = reached;
    });
    CHECK(reached == std::vector{1, 3});
    CHECK(went_on == std::vector{1, 3});
  }

  TEST_CASE("what a stopped rank throws at the end is not the error of the run") {
    CHECK_NOTHROW(
        sim::run({.ranks = 2, .faults = {{.rank = 0, .call = 0, .stops = true}}}, [](int) {
          int device = 0;
          if (cudaGetDevice(&device) != cudaSuccess)
            throw std::runtime_error("of the stopped rank");
        }));
  }

  TEST_CASE("what ranks leave behind is reported, and gone in the next run") {
    const auto report = sim::run({}, [](int) {
      static_cast<void>(new_stream());
      cudaEvent_t event = nullptr;
      void* pointer = nullptr;
      CHECK(cudaEventCreate(&event) == cudaSuccess);
      CHECK(cudaMalloc(&pointer, 100) == cudaSuccess);
    });
    REQUIRE(report.leaks.size() == 3);
    CHECK(contains(report.leaks[0], "stream"));
    CHECK(contains(report.leaks[1], "event"));
    CHECK(contains(report.leaks[2], "(100 bytes, device 0, rank 0)"));
    CHECK(sim::run({}, [](int) {}).leaks.empty());
  }

  TEST_CASE("a thread that is no rank may call outside a run") {
    void* pointer = nullptr;
    int host = 1;
    REQUIRE(cudaMalloc(&pointer, 4) == cudaSuccess);
    CHECK(cudaMemset(pointer, 0, 4) == cudaSuccess);
    CHECK(cudaMemcpy(&host, pointer, 4, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(host == 0);
    CHECK(cudaFree(pointer) == cudaSuccess);
  }

  TEST_CASE("a thread that is no rank may call during a run") {
    std::atomic<bool> over{false};
    std::atomic<int> calls{0};
    std::thread guest([&] {
      while (!over) {
        int device = 0;
        if (cudaGetDevice(&device) == cudaSuccess) ++calls;
      }
    });
    for (std::uint64_t seed = 1; seed < 20; ++seed)
      sim::run({.ranks = 2, .seed = seed}, [](int) {
        const cudaStream_t stream = new_stream();
        CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
        CHECK(cudaStreamDestroy(stream) == cudaSuccess);
      });
    while (calls == 0) std::this_thread::yield();
    over = true;
    guest.join();
  }

  TEST_CASE("a world without devices says so") {
    sim::run({.devices = 0}, [](int) {
      int number = -1;
      CHECK(cudaGetDeviceCount(&number) == cudaErrorNoDevice);
      CHECK(number == 0);
      void* pointer = nullptr;
      CHECK(cudaMalloc(&pointer, 4) == cudaErrorNoDevice);
    });
  }

  TEST_CASE("calls are counted and logged by rank") {
    const auto report = sim::run({.ranks = 2}, [](int rank) {
      void* pointer = nullptr;
      if (rank == 0) CHECK(cudaMalloc(&pointer, 8) == cudaSuccess);
      if (rank == 0) CHECK(cudaMemset(pointer, 0, 8) == cudaSuccess);
      if (rank == 0) CHECK(cudaFree(pointer) == cudaSuccess);
    });
    CHECK(report.ranks[0].calls == 3);
    CHECK(report.ranks[0][sim::Count::fill] == 1);
    CHECK(report.ranks[0][sim::Count::allocation] == 1);
    REQUIRE(report.ranks[0].log.size() == 3);
    CHECK(std::string(report.ranks[0].log[1]) == "cudaMemset");
    CHECK(report.ranks[1].calls == 0);
  }
}
