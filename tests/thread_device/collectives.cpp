// The collectives on device memory against a plain computation: every type, size, alignment.
#include <doctest/doctest.h>

#include "support/seed.hpp"
#include "thread_device/support.hpp"

using namespace thread_device;

namespace {

/// All calls of one type, out of place and in place, `n` elements a rank.
template <class T>
void check_all(Comm& comm, const Place& at, std::int64_t n, std::int64_t shift, int salt) {
  const Stream& s = at.stream;
  const int size = at.size;
  const std::int64_t all = n * size, own = n * at.rank;
  const auto mine = [&](std::int64_t count) { return sent<T>(at.rank, count, salt); };
  const std::string what =
      concat(dpgather::name(dpgather::ElementTraits<T>::dtype), " x ", n, " shifted by ", shift);
  const auto part = [&](const std::vector<T>& from) {
    return std::vector<T>(from.begin() + own, from.begin() + own + n);
  };
  Data<T> small_one(n, shift), small_two(n), large(all, shift), large_two(all);

  small_one.set(mine(n), s);
  comm.all_gather(small_one.data(), large.data(), n, s.get());
  same(large.now(s), gathered<T>(size, n, salt), what + ", all_gather");
  ok(cudaMemcpyAsync(large_two.data() + own, small_one.data(),
                     static_cast<std::size_t>(n) * sizeof(T), cudaMemcpyDeviceToDevice, s.get()));
  comm.all_gather(large_two.data() + own, large_two.data(), n, s.get());
  same(large_two.now(s), gathered<T>(size, n, salt), what + ", all_gather in place");

  comm.all_reduce(small_one.data(), small_two.data(), n, s.get());
  same(small_two.now(s), summed<T>(size, 0, n, salt), what + ", all_reduce");
  comm.all_reduce(small_one.data(), small_one.data(), n, s.get());
  same(small_one.now(s), summed<T>(size, 0, n, salt), what + ", all_reduce in place");

  large.set(mine(all), s);
  comm.reduce_scatter(large.data(), small_one.data(), n, s.get());
  same(small_one.now(s), summed<T>(size, own, n, salt), what + ", reduce_scatter");
  comm.reduce_scatter(large.data(), large.data() + own, n, s.get());
  same(part(large.now(s)), summed<T>(size, own, n, salt), what + ", reduce_scatter in place");

  for (int root = 0; root < size; ++root) {
    small_one.set(mine(n), s);
    comm.broadcast(small_one.data(), n, root, s.get());
    same(small_one.now(s), sent<T>(root, n, salt), concat(what, ", broadcast from ", root));
  }
}

template <class T>
void check_ragged(Comm& comm, const Place& at, std::uint64_t seed) {
  support::Random random(seed);
  const Stream& s = at.stream;
  std::vector<std::int64_t> counts, offsets;
  std::int64_t end = 0;
  for (int r = 0; r < at.size; ++r) {
    const std::int64_t gap = random.chance(50) ? random.between(0, 9) : 0;
    counts.push_back(random.chance(30) ? 0 : random.between(1, random.chance(20) ? 5000 : 99));
    offsets.push_back(end + gap);
    end += gap + counts.back();
  }
  const auto own = static_cast<std::size_t>(at.rank);
  const std::string what =
      concat(dpgather::name(dpgather::ElementTraits<T>::dtype), ", seed ", seed);
  const auto untouched = sent<T>(9, end, 5);
  for (const bool in_place : {false, true}) {
    // Out: my block goes to its place in all; what lies between blocks stays.
    Data<T> block(counts[own]), all(end, in_place ? 0 : 1);
    all.set(untouched, s);
    const auto mine = sent<T>(at.rank, counts[own]);
    block.set(mine, s);
    if (in_place)
      ok(cudaMemcpyAsync(all.data() + offsets[own], block.data(), mine.size() * sizeof(T),
                         cudaMemcpyDeviceToDevice, s.get()));
    comm.all_gather_v(in_place ? all.data() + offsets[own] : block.data(), all.data(), counts,
                      offsets, s.get());
    auto want = untouched;
    for (int r = 0; r < at.size; ++r) {
      const auto theirs = sent<T>(r, counts[static_cast<std::size_t>(r)]);
      std::copy(theirs.begin(), theirs.end(), want.begin() + offsets[static_cast<std::size_t>(r)]);
    }
    same(all.now(s), want, what + ", all_gather_v");

    // Back: the sum of everyone's block of mine.
    all.set(sent<T>(at.rank, end, 1), s);
    T* const out = in_place ? all.data() + offsets[own] : block.data();
    comm.reduce_scatter_v(all.data(), out, counts, offsets, s.get());
    std::vector<T> got = in_place ? all.now(s) : block.now(s);
    if (in_place) got = {got.begin() + offsets[own], got.begin() + offsets[own] + counts[own]};
    same(got, summed<T>(at.size, offsets[own], counts[own], 1), what + ", reduce_scatter_v");
  }
}

template <class F>
void for_each_type(const F& f) {
  f(float{});
  f(double{});
  f(dpgather::bf16{});
  f(dpgather::fp16{});
  f(std::int32_t{});
  f(std::int64_t{});
}

}  // namespace

TEST_CASE("every collective gives what a plain computation gives, in every type") {
  for (const int ranks : {1, 2, 3, 4, 8})
    for (const int devices : {1, 2, 4})
      on_ranks({{.ranks = ranks, .devices = devices}}, [](Comm& comm, const Place& at) {
        for_each_type([&]<class T>(T) {
          for (const std::int64_t n : {1, 3, 64, 1000})
            for (const std::int64_t shift : {0, 1})
              check_all<T>(comm, at, n, shift, static_cast<int>(n));
        });
      });
}

TEST_CASE("a large buffer comes out whole") {
  on_ranks({{.ranks = 3}}, [](Comm& comm, const Place& at) {
    check_all<float>(comm, at, 30011, 0, 1);
    check_all<dpgather::bf16>(comm, at, 30011, 1, 2);
  });
}

TEST_CASE("ragged blocks go where their offsets say, in every type") {
  const std::uint64_t seed = support::seed("ragged on devices", 11);
  for (const int ranks : {1, 2, 3, 8})
    on_ranks({{.ranks = ranks, .devices = 2, .seed = seed}}, [&](Comm& comm, const Place& at) {
      for_each_type([&]<class T>(T) {
        for (std::uint64_t i = 0; i < 4; ++i) check_ragged<T>(comm, at, seed + i);
      });
    });
}

TEST_CASE("zero counts are legal with null pointers, launch nothing and move nothing") {
  on_ranks({{.ranks = 4}}, [](Comm& comm, const Place& at) {
    float* const none = nullptr;
    const float* const nothing = nullptr;
    const std::vector<std::int64_t> zeros(4, 0);
    const auto all = [&] {
      comm.all_gather(nothing, none, 0, at.stream.get());
      comm.all_reduce(nothing, none, 0, at.stream.get());
      comm.reduce_scatter(nothing, none, 0, at.stream.get());
      comm.broadcast(none, 0, 3, at.stream.get());
      comm.all_gather_v(nothing, none, zeros, zeros, at.stream.get());
      comm.reduce_scatter_v(nothing, none, zeros, zeros, at.stream.get());
    };
    all();
    Graph graph(at.stream, all);
    graph.launch(at.stream);
    ok(cudaStreamSynchronize(at.stream.get()));
    expect(comm.elements_moved() == 0, "elements were counted");
  });
  for (const auto& rank : sim::last_report().ranks) {
    CHECK(rank[sim::Count::kernel] == 0);
    CHECK(rank[sim::Count::memop] == 0);
  }
}

TEST_CASE("elements are counted by the formula of each call, eagerly and at each launch") {
  on_ranks({{.ranks = 3}}, [](Comm& comm, const Place& at) {
    const std::int64_t n = 24 * at.size;
    Data<float> a(n * at.size), b(n * at.size);
    const std::vector<std::int64_t> counts{0, 2, 4}, offsets{0, 1, 4};
    const auto all = [&] {
      comm.all_gather(a.data(), b.data(), n, at.stream.get());
      comm.all_reduce(a.data(), b.data(), n, at.stream.get());
      comm.reduce_scatter(a.data(), b.data(), n, at.stream.get());
      comm.broadcast(a.data(), n, 0, at.stream.get());
      comm.all_gather_v(a.data(), b.data(), counts, offsets, at.stream.get());
      comm.reduce_scatter_v(a.data(), b.data(), counts, offsets, at.stream.get());
    };
    const auto once = static_cast<std::uint64_t>(3 * n + 2 * n + 3 * n + n + 6 + 6 * at.rank);
    all();
    expect(comm.elements_moved() == once, "eagerly");
    Graph graph(at.stream, all);
    expect(comm.elements_moved() == once, "a capture moves nothing");
    graph.launch(at.stream);
    graph.launch(at.stream);
    expect(comm.elements_moved() == 3 * once, "two launches");
    ok(cudaStreamSynchronize(at.stream.get()));
  });
}

TEST_CASE(
    "a steady-state call is one launch, or two where it reduces to all, and no host waits for it") {
  const auto report = on_ranks({{.ranks = 4}}, [](Comm& comm, const Place& at) {
    Data<float> a(4096), b(4096);
    comm.all_gather(a.data(), b.data(), 1024, at.stream.get());
    comm.reduce_scatter(a.data(), b.data(), 1024, at.stream.get());
    comm.all_reduce(a.data(), b.data(), 4096, at.stream.get());
    ok(cudaStreamSynchronize(at.stream.get()));
  });
  for (const auto& rank : report.ranks) {
    CHECK(rank[sim::Count::kernel] == 4);
    CHECK(rank[sim::Count::copy] == 0);
    CHECK(rank[sim::Count::sync] == 2);  // one when it is made
    CHECK(rank[sim::Count::memop] == 0);
  }
}
