// What each collective does, in every type and at every size, and which calls of NCCL it takes.
#include <algorithm>
#include <numeric>

#include "nccl_comm/harness.hpp"

namespace {

using namespace nccl_test;
using dpgather::bf16;
using dpgather::fp16;
using Sizes = std::vector<std::int64_t>;
using sim::nccl::Kind;

/// Whole and small, so that sums over 4 ranks are exact in 16 bits; never equal for two ranks.
template <class T>
T value(int rank, std::int64_t i) {
  const auto small = static_cast<int>((i * 3 + i / 17) % 13) + rank * 16;
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(small * 1000);
  else if constexpr (sizeof(T) == 8)
    return small * (1 + 0x1p-40);
  else
    return T(static_cast<float>(small));
}
template <class T>
T sum(int size, std::int64_t i) {
  if constexpr (sizeof(T) == 2) {
    float total = 0;
    for (int r = 0; r < size; ++r) total += static_cast<float>(value<T>(r, i));
    return T(total);
  } else {
    T total{};
    for (int r = 0; r < size; ++r) total = static_cast<T>(total + value<T>(r, i));
    return total;
  }
}
template <class T>
std::vector<T> values(int rank, std::int64_t count) {
  std::vector<T> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(value<T>(rank, i));
  return all;
}
template <class T>
T untouched() {
  return value<T>(7, 5);
}
template <class T>
void expect_equal(const std::vector<T>& got, const std::vector<T>& want, std::string_view what) {
  expect(got.size() == want.size(), what, ": ", got.size(), " elements");
  for (std::size_t i = 0; i < got.size(); ++i)
    expect(got[i] == want[i], what, ": element ", i, " differs");
}

/// Counts with their offsets; `gap` elements before each block.
struct Blocks {
  Sizes counts, offsets;
  std::int64_t end = 0;
  Blocks(Sizes n, std::int64_t gap) : counts(std::move(n)) {
    for (const auto count : counts) {
      offsets.push_back(end + gap);
      end += gap + count;
    }
  }
};
std::vector<Blocks> ragged(int size) {
  const auto n = static_cast<std::size_t>(size);
  std::vector<Blocks> all;
  for (const std::int64_t gap : {0, 3}) {
    all.emplace_back(Sizes(n, 6), gap);
    all.emplace_back(Sizes(n, 0), gap);
    Sizes rising(n);
    std::iota(rising.begin(), rising.end(), 0);
    all.emplace_back(rising, gap);
    std::reverse(rising.begin(), rising.end());
    rising.front() = 301;
    all.emplace_back(rising, gap);
    Sizes last(n, 0);
    last.back() = 37;
    all.emplace_back(last, gap);
  }
  return all;
}

/// Every collective, out of place and in place, against what it must give.
template <class T>
void all_collectives(NcclComm<>& comm, CudaStream stream) {
  const int rank = comm.rank();
  const int size = comm.size();
  for (const std::int64_t count : {std::int64_t{1}, std::int64_t{67}}) {
    std::vector<T> gathered, reduced, mine = values<T>(rank, count), whole;
    for (int r = 0; r < size; ++r)
      for (std::int64_t i = 0; i < count; ++i) gathered.push_back(value<T>(r, i));
    for (std::int64_t i = 0; i < count * size; ++i) reduced.push_back(sum<T>(size, i));
    whole = values<T>(rank, count * size);
    const std::vector<T> own(reduced.begin() + rank * count, reduced.begin() + (rank + 1) * count);

    const Data<T> send(mine, stream), all(count * size, untouched<T>(), stream);
    comm.all_gather(send.get(), all.get(), count, stream);
    expect_equal(all.read(), gathered, "all_gather");
    std::vector<T> slots(static_cast<std::size_t>(count * size), untouched<T>());
    std::copy(mine.begin(), mine.end(), slots.begin() + rank * count);
    const Data<T> in_place(slots, stream);
    comm.all_gather(in_place.get() + rank * count, in_place.get(), count, stream);
    expect_equal(in_place.read(), gathered, "all_gather in place");

    const Data<T> wide(whole, stream), total(count * size, untouched<T>(), stream);
    comm.all_reduce(wide.get(), total.get(), count * size, stream);
    expect_equal(total.read(), reduced, "all_reduce");
    expect_equal(wide.read(), whole, "all_reduce leaves what it sends");
    const Data<T> part(count, untouched<T>(), stream);
    comm.reduce_scatter(wide.get(), part.get(), count, stream);
    expect_equal(part.read(), own, "reduce_scatter");
    comm.reduce_scatter(wide.get(), wide.get() + rank * count, count, stream);
    const auto after = wide.read();
    expect_equal({after.begin() + rank * count, after.begin() + (rank + 1) * count}, own,
                 "reduce_scatter in place");
    const Data<T> both(whole, stream);
    comm.all_reduce(both.get(), both.get(), count * size, stream);
    expect_equal(both.read(), reduced, "all_reduce in place");

    for (int root = 0; root < size; ++root) {
      const Data<T> data(values<T>(rank, count), stream);
      comm.broadcast(data.get(), count, root, stream);
      expect_equal(data.read(), values<T>(root, count), "broadcast");
    }
  }
}

template <class T>
void all_ragged(NcclComm<>& comm, CudaStream stream) {
  const int rank = comm.rank();
  const int size = comm.size();
  for (const Blocks& blocks : ragged(size)) {
    const auto me = static_cast<std::size_t>(rank);
    const std::int64_t own = blocks.counts[me];
    std::vector<T> gathered(static_cast<std::size_t>(blocks.end), untouched<T>());
    for (int r = 0; r < size; ++r)
      for (std::int64_t i = 0; i < blocks.counts[static_cast<std::size_t>(r)]; ++i)
        gathered[static_cast<std::size_t>(blocks.offsets[static_cast<std::size_t>(r)] + i)] =
            value<T>(r, i);
    const Data<T> send(values<T>(rank, own), stream);
    const Data<T> all(blocks.end, untouched<T>(), stream);
    comm.all_gather_v(send.get(), all.get(), blocks.counts, blocks.offsets, stream);
    expect_equal(all.read(), gathered, "all_gather_v");
    std::vector<T> slots(static_cast<std::size_t>(blocks.end), untouched<T>());
    for (std::int64_t i = 0; i < own; ++i)
      slots[static_cast<std::size_t>(blocks.offsets[me] + i)] = value<T>(rank, i);
    const Data<T> in_place(slots, stream);
    comm.all_gather_v(in_place.get() + blocks.offsets[me], in_place.get(), blocks.counts,
                      blocks.offsets, stream);
    expect_equal(in_place.read(), gathered, "all_gather_v in place");

    std::vector<T> reduced;
    for (std::int64_t i = 0; i < own; ++i) reduced.push_back(sum<T>(size, blocks.offsets[me] + i));
    const Data<T> wide(values<T>(rank, blocks.end), stream);
    const Data<T> part(own, untouched<T>(), stream);
    comm.reduce_scatter_v(wide.get(), part.get(), blocks.counts, blocks.offsets, stream);
    expect_equal(part.read(), reduced, "reduce_scatter_v");
    expect_equal(wide.read(), values<T>(rank, blocks.end), "reduce_scatter_v leaves what it sends");
    comm.reduce_scatter_v(wide.get(), wide.get() + blocks.offsets[me], blocks.counts,
                          blocks.offsets, stream);
    auto want = values<T>(rank, blocks.end);
    std::copy(reduced.begin(), reduced.end(), want.begin() + blocks.offsets[me]);
    expect_equal(wide.read(), want, "reduce_scatter_v in place");
  }
}

template <class T>
void in_type(std::string_view name) {
  INFO(name);
  for (const int size : {1, 2, 4}) {
    INFO(size, " ranks");
    on_comms(size, [](NcclComm<>& comm, CudaStream stream) {
      all_collectives<T>(comm, stream);
      all_ragged<T>(comm, stream);
    });
  }
}

TEST_CASE("collectives give what the concept says, in every type, in place and not") {
  in_type<float>("float");
  in_type<double>("double");
  in_type<bf16>("bf16");
  in_type<fp16>("fp16");
  in_type<std::int32_t>("int32");
  in_type<std::int64_t>("int64");
}

TEST_CASE("collectives give the same under every schedule") {
  on_schedules([](const sim::Options& options) {
    on_comms(
        3,
        [](NcclComm<>& comm, CudaStream stream) {
          all_collectives<float>(comm, stream);
          all_ragged<float>(comm, stream);
        },
        options);
  });
}

TEST_CASE("collectives work on a communicator that blocks, and on the default stream") {
  auto nccl = options_for_tests();
  nccl.blocking = true;
  on_comms(
      2, [](NcclComm<>& comm, CudaStream) { all_ragged<float>(comm, CudaStream()); }, {}, nccl);
}

/// What NCCL was asked for by rank 0.
std::vector<std::uint64_t> calls_of_rank_0() {
  std::vector<std::uint64_t> calls;
  for (const Kind kind :
       {Kind::all_gather, Kind::all_reduce, Kind::reduce_scatter, Kind::broadcast, Kind::reduce})
    calls.push_back(sim::nccl::counted(0, kind).calls);
  return calls;
}

TEST_CASE("equal blocks end to end take the plain collective, others a call a rank with rows") {
  struct Case {
    Sizes counts, offsets;
    std::vector<std::uint64_t> gather, scatter;
  };
  for (const Case& c : {Case{{4, 4, 4}, {0, 4, 8}, {1, 0, 0, 0, 0}, {0, 0, 1, 0, 0}},
                        Case{{4, 4, 4}, {2, 6, 10}, {1, 0, 0, 0, 0}, {0, 0, 1, 0, 0}},
                        Case{{4, 4, 4}, {0, 4, 9}, {0, 0, 0, 3, 0}, {0, 0, 0, 0, 3}},
                        Case{{4, 3, 4}, {0, 4, 8}, {0, 0, 0, 3, 0}, {0, 0, 0, 0, 3}},
                        Case{{4, 0, 4}, {0, 4, 8}, {0, 0, 0, 2, 0}, {0, 0, 0, 0, 2}},
                        Case{{0, 0, 0}, {0, 0, 0}, {0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}}}) {
    for (const bool gathers : {true, false}) {
      const auto report = on_comms(3, [&](NcclComm<>& comm, CudaStream stream) {
        const Data<float> a(16, 1, stream), b(16, 1, stream);
        if (gathers)
          comm.all_gather_v(a.get(), b.get(), c.counts, c.offsets, stream);
        else
          comm.reduce_scatter_v(a.get(), b.get(), c.counts, c.offsets, stream);
        comm.synchronize(stream);
      });
      CHECK(calls_of_rank_0() == (gathers ? c.gather : c.scatter));
      CHECK(sim::nccl::launches(0) == (c.counts[0] == 0 ? 0 : 1));
      const auto& log = report.ranks[0].log;
      for (const std::string_view name : {"ncclBroadcast", "ncclReduce"}) {
        const auto& want = gathers ? c.gather : c.scatter;
        CHECK(static_cast<std::uint64_t>(std::count(log.begin(), log.end(), name)) ==
              want[name == "ncclReduce" ? 4 : 3]);
      }
    }
  }
}

TEST_CASE("calls of nothing are not made, and pointers may be null then") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    float* const null = nullptr;
    comm.all_gather(null, null, 0, stream);
    comm.all_reduce(null, null, 0, stream);
    comm.reduce_scatter(null, null, 0, stream);
    comm.broadcast(null, 0, 1, stream);
    comm.all_gather_v(null, null, Sizes{0, 0}, Sizes{0, 0}, stream);
    comm.group([&] { comm.all_reduce(null, null, 0, stream); });
    comm.group([] {});
    expect(comm.elements_moved() == 0, "elements moved");
  });
  CHECK(sim::nccl::launches(0) == 0);
}

TEST_CASE("elements moved are those that ThreadComm counts") {
  const Blocks blocks({5, 0, 9}, 2);
  const auto calls = [&](auto& comm, auto* a, auto* b, auto stream) {
    std::vector<std::uint64_t> moved;
    const auto note = [&] { moved.push_back(comm.elements_moved()); };
    comm.all_gather(a, b, 5, stream), note();
    comm.all_reduce(a, b, 20, stream), note();
    comm.all_reduce(a, b, 1, stream), note();
    comm.reduce_scatter(a, b, 7, stream), note();
    comm.broadcast(b, 4, 1, stream), note();
    comm.all_gather_v(a, b, blocks.counts, blocks.offsets, stream), note();
    comm.reduce_scatter_v(a, b, blocks.counts, blocks.offsets, stream), note();
    comm.all_gather_v(a, b, Sizes{4, 4, 4}, Sizes{1, 5, 9}, stream), note();
    comm.reduce_scatter_v(a, b, Sizes{4, 4, 4}, Sizes{1, 5, 9}, stream), note();
    comm.group([&] { comm.all_reduce(a, b, 5, stream), comm.broadcast(b + 32, 3, 0, stream); });
    note();
    return moved;
  };
  std::vector<std::vector<std::uint64_t>> want(3), got(3);
  dpgather::run_ranks(3, [&](dpgather::ThreadComm<>& comm) {
    std::vector<float> a(64, 1.0f), b(64, 1.0f);
    want[static_cast<std::size_t>(comm.rank())] =
        calls(comm, a.data(), b.data(), dpgather::HostStream());
  });
  on_comms(3, [&](NcclComm<>& comm, CudaStream stream) {
    const Data<float> a(64, 1, stream), b(64, 1, stream);
    got[static_cast<std::size_t>(comm.rank())] = calls(comm, a.get(), b.get(), stream);
    comm.synchronize(stream);
  });
  CHECK(got == want);
}

TEST_CASE("wrong arguments are errors before NCCL is asked, and all goes on") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> a(16, 1, stream), b(16, 5, stream);
    const float* const null = nullptr;
    const auto refuses = [](const auto& f, std::initializer_list<std::string_view> parts) {
      throws<dpgather::InvalidArgument>(f, parts);
    };
    comm.set_step(7);
    const std::string me = concat("rank ", comm.rank(), ", step 7");
    refuses([&] { comm.all_gather(a.get(), b.get(), -3, stream); }, {me, "all_gather", "-3"});
    refuses([&] { comm.all_reduce(null, b.get(), 4, stream); }, {"all_reduce", "null"});
    refuses([&] { comm.broadcast(b.get(), 4, 2, stream); }, {"broadcast", "root is 2"});
    refuses([&] { comm.all_reduce(b.get(), b.get() + 1, 4, stream); }, {"overlap"});
    refuses(
        [&] {
          comm.all_gather_v(a.get(), b.get(), Sizes{2, -7}, Sizes{0, 4}, stream);
        },
        {"all_gather_v", "-7"});
    refuses(
        [&] {
          comm.reduce_scatter_v(a.get(), b.get(), Sizes{2, 2}, Sizes{}, stream);
        },
        {"reduce_scatter_v", "0 offsets"});
    refuses([&] { static_cast<void>(comm.split(-1, 0)); }, {"split", "-1"});
    expect_equal(b.read(), std::vector<float>(16, 5.0f), "what was not to change");
    comm.all_reduce(a.get(), b.get(), 16, stream);
    expect_equal(b.read(), std::vector<float>(16, 2.0f), "the call after them");
  });
}

}  // namespace
