// What is special to ranks that are threads; what all communicators promise is in conformance/.
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/thread.hpp>

#include "support/allocations.hpp"
#include "support/ranks.hpp"

using namespace dpgather;
using namespace std::chrono_literals;

TEST_CASE("a hub has one seat a rank, and 1 to 4096 of them") {
  CHECK_THROWS_WITH_AS(ThreadHub(0), doctest::Contains("size is 0, must be 1 to 4096"),
                       InvalidArgument);
  CHECK_THROWS_AS(ThreadHub(4097), InvalidArgument);
  CHECK_THROWS_AS(ThreadHub(2, 0ms), InvalidArgument);
  const auto hub = std::make_shared<ThreadHub>(2);
  CHECK_THROWS_WITH_AS((ThreadComm<>(hub, 2)), doctest::Contains("rank is 2, must be 0 to 1"),
                       InvalidArgument);
  const ThreadComm<> comm(hub, 1);
  CHECK_THROWS_WITH_AS((ThreadComm<>(hub, 1)), doctest::Contains("taken already"), InvalidArgument);
  CHECK_THROWS_AS((ThreadComm<>(nullptr, 0)), InvalidArgument);
}

TEST_CASE("a mismatch lists the call of every rank, on every rank") {
  const auto hub = std::make_shared<ThreadHub>(3);
  std::vector<std::string> texts(3);
  run_ranks(3, [&](int rank) {
    ThreadComm<> comm(hub, rank);
    std::vector<float> a(4), b(12);
    std::vector<double> c(4);
    try {
      if (rank == 0) comm.all_gather<float>(a.data(), b.data(), 4, HostStream{});
      if (rank == 1) comm.all_gather<float>(a.data(), b.data(), 3, HostStream{});
      if (rank == 2) comm.all_reduce<double>(c.data(), c.data(), 4, HostStream{});
    } catch (const MismatchError& error) {
      texts[static_cast<std::size_t>(rank)] = error.detail();
    }
    CHECK_THROWS_AS(comm.check(), PeerError);  // it stays failed
  });
  for (const auto& text : texts)
    CHECK(text ==
          "ranks called different collectives: rank 0: all_gather of 4 float; rank 1: all_gather "
          "of 3 float; "
          "rank 2: all_reduce of 4 double");
}

TEST_CASE("a mismatch is caught at the free level too: comparing costs nothing here") {
  const auto hub = std::make_shared<ThreadHub>(2);
  int caught = 0;
  std::mutex mutex;
  run_ranks(2, [&](int rank) {
    ThreadComm<HostMemory, CheckLevel::free> comm(hub, rank);
    float a[4] = {}, b[8] = {};
    try {
      comm.all_gather<float>(a, b, rank == 0 ? 4 : 2, HostStream{});
    } catch (const MismatchError&) {
      const std::lock_guard lock(mutex);
      ++caught;
    }
  });
  CHECK(caught == 2);
}

TEST_CASE("the reason of the rank that threw reaches its peers") {
  std::vector<std::string> texts(3);
  CHECK_THROWS_WITH_AS(run_ranks(3,
                                 [&](ThreadComm<>& comm) {
                                   if (comm.rank() == 1)
                                     throw std::runtime_error("out of KV blocks");
                                   float a = 1, b[3];
                                   try {
                                     comm.all_gather<float>(&a, b, 1, HostStream{});
                                   } catch (const PeerError& error) {
                                     texts[static_cast<std::size_t>(comm.rank())] = error.what();
                                     throw;
                                   }
                                 }),
                       "out of KV blocks", std::runtime_error);
  CHECK(texts[0].find("rank 1 aborted: out of KV blocks") != std::string::npos);
  CHECK(texts[2].find("rank 1 aborted: out of KV blocks") != std::string::npos);
}

TEST_CASE("a handle destroyed while an exception passes frees its peers") {
  const auto hub = std::make_shared<ThreadHub>(2);
  CHECK_THROWS_WITH(
      run_ranks(2,
                [&](int rank) {
                  ThreadComm<> comm(hub, rank);
                  if (rank == 0) throw std::runtime_error("boom");
                  float value = 0;
                  try {
                    comm.all_reduce<float>(&value, &value, 1, HostStream{});
                    FAIL("returned without its peer");
                  } catch (const PeerError& error) {
                    CHECK(std::string(error.what()).find("rank 0 ended with an exception") !=
                          std::string::npos);
                  }
                }),
      "boom");
}

TEST_CASE("a rank that leaves frees its peers; leaving after the last call does not") {
  const auto hub = std::make_shared<ThreadHub>(2);
  CHECK_THROWS_WITH_AS(run_ranks(2,
                                 [&](int rank) {
                                   ThreadComm<> comm(hub, rank);
                                   float value = 1;
                                   comm.all_reduce<float>(&value, &value, 1, HostStream{});
                                   if (rank == 0)
                                     comm.all_reduce<float>(&value, &value, 1, HostStream{});
                                 }),
                       doctest::Contains("rank 1 left while others are in all_reduce"), PeerError);
  for (int i = 0; i < 200; ++i) {
    const auto again = std::make_shared<ThreadHub>(3);
    CHECK_NOTHROW(run_ranks(3, [&](int rank) {
      ThreadComm<> comm(again, rank);
      float value = 1;
      comm.all_reduce<float>(&value, &value, 1, HostStream{});
    }));
  }
}

TEST_CASE("a deadline names the ranks that did not come") {
  const auto hub = std::make_shared<ThreadHub>(3, 50ms);
  CHECK_THROWS_WITH_AS(run_ranks(3,
                                 [&](int rank) {
                                   ThreadComm<> comm(hub, rank);
                                   float value = 1;
                                   if (rank == 0)
                                     comm.all_reduce<float>(&value, &value, 1, HostStream{});
                                   std::this_thread::sleep_for(300ms);
                                 }),
                       doctest::Contains("no answer within 50 ms in all_reduce from ranks 1, 2"),
                       TimeoutError);
}

TEST_CASE("an abort from another thread frees a rank that waits") {
  const auto hub = std::make_shared<ThreadHub>(2);
  ThreadComm<> comm(hub, 0);
  std::thread watchdog([&] {
    std::this_thread::sleep_for(20ms);
    comm.abort("watchdog");
  });
  float value = 1;
  CHECK_THROWS_WITH_AS(comm.all_reduce<float>(&value, &value, 1, HostStream{}),
                       doctest::Contains("watchdog"), PeerError);
  watchdog.join();
}

TEST_CASE("a rank that fails the communicator finds it failed, also when its peers fail it too") {
  constexpr int size = 4;
  for (int round = 0; round < 300; ++round) {
    const auto hub = std::make_shared<ThreadHub>(size);
    std::atomic<int> ready{0};
    std::atomic<int> unharmed{0};
    run_ranks(size, [&](int rank) {
      ThreadComm<> comm(hub, rank);
      ++ready;
      while (ready < size) std::this_thread::yield();
      comm.abort("now");
      try {
        comm.check();
        ++unharmed;
      } catch (const PeerError&) {
      }
    });
    REQUIRE(unharmed == 0);
  }
}

TEST_CASE("sums are the same bits on all ranks and in rank order") {
  const float values[] = {1e8f, 1.0f, -1e8f, 0.5f};
  const float in_order = ((1e8f + 1.0f) + -1e8f) + 0.5f;
  run_ranks(4, [&](ThreadComm<>& comm) {
    std::vector<float> data(37, values[comm.rank()]);
    comm.all_reduce<float>(data.data(), data.data(), 37, HostStream{});
    for (const float x : data) test::expect(std::memcmp(&x, &in_order, 4) == 0, "got ", x);
  });
}

TEST_CASE("16-bit sums accumulate in float: 1 + 256 * 1 in bf16 loses nothing on the way") {
  run_ranks(8, [](ThreadComm<>& comm) {
    // In bf16, 256 + 1 is 256: a chain of bf16 additions would stay at 256.
    bf16 value(comm.rank() == 0 ? 256.0f : 1.0f);
    comm.all_reduce<bf16>(&value, &value, 1, HostStream{});
    test::expect(float(value) == float(bf16(263.0f)), "got ", float(value));
  });
}

TEST_CASE("a group of several calls is one rendezvous, and its calls are compared one by one") {
  run_ranks(3, [](ThreadComm<>& comm) {
    float a = static_cast<float>(comm.rank()), gathered[3] = {};
    std::int64_t b = 10 + comm.rank();
    comm.group([&] {
      comm.all_gather<float>(&a, gathered, 1, HostStream{});
      comm.all_reduce<std::int64_t>(&b, &b, 1, HostStream{});
    });
    test::expect(gathered[0] == 0 && gathered[1] == 1 && gathered[2] == 2 && b == 33,
                 "group is wrong");
  });
  CHECK_THROWS_WITH_AS(run_ranks(2,
                                 [](ThreadComm<>& comm) {
                                   float a = 0, b[2];
                                   comm.group([&] {
                                     comm.all_reduce<float>(&a, &a, 1, HostStream{});
                                     if (comm.rank() == 0)
                                       comm.all_gather<float>(&a, b, 1, HostStream{});
                                   });
                                 }),
                       doctest::Contains("rank 0: all_gather of 1 float; rank 1: none"),
                       MismatchError);
}

TEST_CASE("groups do not nest, and an exception inside leaves nothing queued") {
  ThreadComm<> comm(std::make_shared<ThreadHub>(1), 0);
  float a = 1, b = 0;
  CHECK_THROWS_AS(comm.group([&] { comm.group([] {}); }), InvalidArgument);
  CHECK_THROWS_WITH(comm.group([&] {
    comm.all_gather<float>(&a, &b, 1, HostStream{});
    throw std::runtime_error("no");
  }),
                    "no");
  CHECK(b == 0.0f);
  comm.group([] {});
  CHECK(b == 0.0f);
}

TEST_CASE("a recorded v-collective keeps its counts after the caller's are gone") {
  run_ranks(2, [](ThreadComm<>& comm) {
    Recording recording;
    std::vector<float> send(3, static_cast<float>(comm.rank() + 1)), recv(4, -1.0f);
    {
      std::vector<std::int64_t> counts{1, 3}, offsets{0, 1};
      comm.all_gather_v<float>(send.data(), recv.data(), counts, offsets, HostStream(recording));
      counts = {9, 9};
      offsets = {9, 9};
    }
    test::expect(recv[0] == -1.0f, "capture must not run");
    recording.replay();
    recording.replay();
    test::expect(recv == std::vector<float>{1, 2, 2, 2}, "replay is wrong");
  });
}

TEST_CASE(
    "destroying a communicator that a recording holds is reported, and its replay is refused") {
  static std::string report;
  const auto old = destructor_error_handler();
  destructor_error_handler() = +[](const char* message) noexcept { report = message; };
  Recording recording;
  float value = 1;
  {
    ThreadComm<> comm(std::make_shared<ThreadHub>(1), 0);
    comm.all_reduce<float>(&value, &value, 1, HostStream(recording));
  }
  CHECK(report.find("ThreadComm of rank 0 was destroyed while 1 captured graphs hold it") !=
        std::string::npos);
  CHECK_THROWS_AS(recording.replay(), GraphError);
  destructor_error_handler() = old;
}

TEST_CASE("elements moved are counted where they are read") {
  run_ranks(3, [](ThreadComm<>& comm) {
    const std::vector<std::int64_t> counts{0, 5, 1}, offsets{0, 0, 5};
    std::vector<float> a(30), b(30);
    const auto moved = [&](auto call) {
      const auto before = comm.elements_moved();
      call();
      return comm.elements_moved() - before;
    };
    const HostStream s;
    const auto own = static_cast<std::uint64_t>(counts[static_cast<std::size_t>(comm.rank())]);
    test::expect(moved([&] { comm.all_gather<float>(a.data(), b.data(), 4, s); }) == 12,
                 "all_gather");
    test::expect(moved([&] { comm.all_reduce<float>(a.data(), b.data(), 9, s); }) == 18,
                 "all_reduce");
    test::expect(moved([&] { comm.reduce_scatter<float>(a.data(), b.data(), 4, s); }) == 12,
                 "reduce_scatter");
    test::expect(moved([&] { comm.broadcast<float>(a.data(), 4, 1, s); }) == 4, "broadcast");
    test::expect(
        moved([&] { comm.all_gather_v<float>(a.data(), b.data(), counts, offsets, s); }) == 6,
        "all_gather_v");
    test::expect(moved([&] {
                   comm.reduce_scatter_v<float>(a.data(), b.data(), counts, offsets, s);
                 }) == own * 3,
                 "reduce_scatter_v");
  });
}

TEST_CASE("an eager collective allocates nothing once warm") {
  run_ranks(2, [](ThreadComm<>& comm) {
    const std::vector<std::int64_t> counts{2, 3}, offsets{0, 2};
    std::vector<float> a(10), b(10);
    const HostStream s;
    const auto all = [&] {
      comm.all_gather<float>(a.data(), b.data(), 4, s);
      comm.all_reduce<float>(a.data(), b.data(), 4, s);
      comm.reduce_scatter<float>(a.data(), b.data(), 4, s);
      comm.all_gather_v<float>(a.data(), b.data(), counts, offsets, s);
      comm.reduce_scatter_v<float>(a.data(), b.data(), counts, offsets, s);
    };
    all();
    const auto before = support::allocations_of_this_thread();
    for (int i = 0; i < 10; ++i) all();
    const auto after = support::allocations_of_this_thread();
    test::expect(after == before, after - before, " allocations");
  });
}

TEST_CASE(
    "those split off a communicator fail with it, and with a communicator they are split off") {
  const auto hub = std::make_shared<ThreadHub>(3);
  std::vector<std::string> texts(3);
  std::atomic<int> ready{0};
  run_ranks(3, [&](int rank) {
    ThreadComm<> comm(hub, rank);
    ThreadComm<> child = comm.split(0, rank);
    ThreadComm<> grandchild = child.split(0, rank);
    ++ready;
    if (rank == 0) {
      while (ready.load() < 3) std::this_thread::yield();
      comm.abort("out of memory");
      CHECK_THROWS_AS(child.check(), PeerError);
      return;
    }
    try {
      (rank == 1 ? child : grandchild).barrier(HostStream{});  // rank 0 will not come
    } catch (const PeerError& error) {
      texts[static_cast<std::size_t>(rank)] = error.detail();
    }
  });
  for (const std::size_t rank : {1u, 2u})
    CHECK(texts[rank] == "communicator failed: rank 0 aborted: out of memory");
}

TEST_CASE("a communicator outlives the failure of one that was split off it") {
  const auto hub = std::make_shared<ThreadHub>(2);
  run_ranks(2, [&](int rank) {
    ThreadComm<> comm(hub, rank);
    ThreadComm<> child = comm.split(0, rank);
    child.abort("on purpose");
    CHECK_THROWS_AS(child.barrier(HostStream{}), PeerError);
    CHECK_NOTHROW(comm.barrier(HostStream{}));
    CHECK_NOTHROW(comm.split(0, rank).barrier(HostStream{}));
  });
}
