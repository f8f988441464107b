// What DpGather promises beyond moving rows right, which tests/property shows.
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dp_gather.hpp>

#include "support/allocations.hpp"
#include "support/ranks.hpp"

using namespace dpgather;
using test::expect;

namespace {

constexpr std::int64_t H = 4;

Phase rows_of(std::int64_t n) {
  return {.tokens = n, .requests = n > 0, .forward = n ? Forward::extend : Forward::idle};
}

/// `[n, H]` rows of one rank, each element different.
std::vector<float> rows(int dp, std::int64_t n) {
  std::vector<float> data(static_cast<std::size_t>(n * H));
  std::iota(data.begin(), data.end(), static_cast<float>(dp * 1000 + 1));
  return data;
}

template <class E, class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const E& error) {
    return error.detail();
  }
  return "no error";
}

/// One eager step of `counts`, begun.
template <class Mode>
struct Step1 {
  Step1(test::Rank& r, std::vector<std::int64_t> c, Mode mode = {})
      : rank(r),
        counts(std::move(c)),
        gather(r.comm, {.layout = r.layout, .hidden = H, .max_local_rows = 64}, mode) {
    begin();
  }
  void begin() {
    step = rank.agree(rows_of(counts[static_cast<std::size_t>(rank.dp())]));
    shape = gather.exact_shape(step);
    gather.begin_step(step, shape, HostStream{});
  }
  [[nodiscard]] std::int64_t own() const { return counts[static_cast<std::size_t>(rank.dp())]; }
  test::Rank& rank;
  std::vector<std::int64_t> counts;
  DpGather<Mode> gather;
  Step step;
  ShapeKey shape;
};

/// Rows moved out and back, averaged over ranks, against the formula.
template <class Mode>
void moves(const DpLayout& layout, const std::vector<std::int64_t>& counts, std::uint64_t out,
           std::uint64_t back) {
  std::uint64_t sent = 0, returned = 0;
  std::mutex mutex;
  test::on_ranks(layout, [&](test::Rank& rank) {
    Step1<Mode> s(rank, counts);
    const auto data = rows(rank.dp(), s.own());
    auto all = s.gather.gather(s.shape, Rows<const float>(data.data(), s.own(), H), HostStream{});
    auto partial = s.gather.partial_slot(s.shape);
    for (std::int64_t i = 0; i < all.size(); ++i)
      partial.data()[i] = all.data()[i] * static_cast<float>(rank.rank() + 1);
    std::vector<float> result(static_cast<std::size_t>(s.shape.local_len * H));
    s.gather.reduce_scatter(s.shape, partial, Rows<float>(result.data(), s.shape.local_len, H),
                            HostStream{});
    const std::lock_guard lock(mutex);
    sent += s.gather.moved().out;
    returned += s.gather.moved().back;
  });
  const auto ranks = static_cast<std::uint64_t>(layout.world());
  CHECK(sent == out * H * ranks);
  CHECK(returned == back * H * ranks);
}

}  // namespace

TEST_CASE("MAX_LEN moves W * max rows each way") {
  moves<MaxLen>({.dp = 3}, {5, 2, 0}, 15, 15);
  moves<MaxLen>({.dp = 1}, {5}, 5, 5);
  moves<MaxLen>({.dp = 2, .attn_tp = 2}, {5, 2}, 12, 12);  // 5 rounds up to 6
}
TEST_CASE("SUM_LEN by all-reduce moves twice the sum each way") {
  moves<SumLen<AllReduce>>({.dp = 3}, {5, 2, 0}, 14, 14);
  moves<SumLen<AllReduce>>({.dp = 2, .attn_tp = 2}, {5, 2}, 16, 16);
}
TEST_CASE("SUM_LEN by all-gather-v moves the rows that exist, and no others, attention TP or not") {
  moves<SumLen<AllGatherV>>({.dp = 3}, {5, 2, 0}, 7, 7);
  moves<SumLen<AllGatherV>>({.dp = 2, .attn_tp = 2}, {5, 2}, 7, 7);
  moves<SumLen<AllGatherV>>({.dp = 3}, {60, 1, 1}, 62, 62);
}

TEST_CASE("a replicated input needs no reduction within attention TP") {
  // The attention-TP communicator is the gather's own: an input that differs between the two ranks
  // tells whose slice was taken, and that nothing was added.
  test::on_ranks({.dp = 1, .attn_tp = 2}, [](test::Rank& rank) {
    Step1<MaxLen> s(rank, {4});
    std::vector<float> data(4 * H, static_cast<float>(rank.rank() + 1));
    const auto all = s.gather.gather(s.shape, Rows<const float>(data.data(), 4, H), HostStream{});
    for (std::int64_t i = 0; i < 4; ++i)
      expect(all(i, 0) == (i < 2 ? 1.0f : 2.0f), "row ", i, " is ", all(i, 0));
    const auto sum = s.gather.gather(s.shape, Rows<const float>(data.data(), 4, H), HostStream{},
                                     Input::partial);
    for (std::int64_t i = 0; i < 4; ++i)
      expect(sum(i, 0) == 3.0f, "partial row ", i, " is ", sum(i, 0));
  });
}

TEST_CASE("a producer that writes into its slot finds its rows at their place: nothing is copied") {
  const auto in_place = [](auto mode) {
    test::on_ranks({.dp = 2}, [&](test::Rank& rank) {
      Step1<decltype(mode)> s(rank, {3, 5}, mode);
      const auto slot = s.gather.slot(s.shape);
      const auto data = rows(rank.dp(), s.own());
      std::copy(data.begin(), data.end(), slot.data());
      const auto all = s.gather.gather(s.shape, slot, HostStream{});
      expect(slot.data() == all.row(s.gather.counts().own_offset()),
             "the slot is not this rank's block");
      for (int d = 0; d < 2; ++d) {
        const auto want = rows(d, d == 0 ? 3 : 5);
        expect(std::equal(want.begin(), want.end(), all.row(s.gather.counts().offsets[d])),
               "block ", d);
      }
    });
  };
  in_place(MaxLen{});
  in_place(SumLen<AllReduce>{});
  in_place(SumLen<AllGatherV>{});
}

TEST_CASE("a gather from a clean slot is a collective and nothing else, and its pads are zero") {
  for (const bool clean : {true, false})
    test::on_ranks({.dp = 2}, [clean](test::Rank& rank) {
      DpGather<MaxLen> gather(
          rank.comm,
          {.layout = rank.layout, .hidden = H, .max_local_rows = 8, .clean_slots = clean});
      const ShapeKey shape{
          .local_len = 8, .global_len = 16, .forward = Forward::decode, .is_static = true};
      for (const std::int64_t n : {5, 0, 8, 2}) {
        const Step step = rank.agree(
            {.tokens = n, .requests = n, .forward = n ? Forward::decode : Forward::idle});
        if (n == 0) continue;  // all ranks idle: another kind of step
        gather.begin_step(step, shape, HostStream{});
        const auto data = rows(rank.dp(), n);
        const Rows<float> slot = gather.slot(shape);
        std::copy(data.begin(), data.end(), slot.data());
        if (!clean) std::fill(slot.row(n), slot.row(8), -1.0f);
        Recording recording;
        const auto all = gather.gather(shape, slot, HostStream(recording));
        recording.replay();
        std::size_t operations = 0;
        for (std::size_t i = 0; i < recording.size(); ++i)
          operations += recording.operation(i) != "on_launch" ? 1 : 0;
        expect(operations == (clean ? 1 : 2), operations, " operations");
        for (int d = 0; d < 2; ++d) {
          const auto want = rows(d, n);
          expect(std::equal(want.begin(), want.end(), all.row(d * 8)), "block ", d);
          expect(
              std::all_of(all.row(d * 8 + n), all.row(d * 8 + 8), [](float x) { return x == 0; }),
              "pads of block ", d);
        }
      }
    });
}

TEST_CASE("reducing rows that are reduced already is caught on every rank") {
  const auto twice = [](auto mode) {
    test::on_ranks({.dp = 2}, [&](test::Rank& rank) {
      Step1<decltype(mode)> s(rank, {3, 2});
      const auto data = rows(rank.dp(), s.own());
      const auto all =
          s.gather.gather(s.shape, Rows<const float>(data.data(), s.own(), H), HostStream{});
      std::vector<float> out(static_cast<std::size_t>(s.shape.local_len * H));
      const auto text = error_of<InvalidArgument>([&] {
        s.gather.reduce_scatter(s.shape, all, Rows<float>(out.data(), s.shape.local_len, H),
                                HostStream{});
      });
      expect(text.find("would be added 2 times; use slice_local") != std::string::npos, text);
    });
  };
  twice(MaxLen{});
  twice(SumLen<AllReduce>{});
  twice(SumLen<AllGatherV>{});
}

TEST_CASE("slicing rows that are partial sums is caught on every rank") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Step1<MaxLen> s(rank, {3, 2});
    const auto partial = s.gather.partial_slot(s.shape);
    std::fill_n(partial.data(), partial.size(), static_cast<float>(rank.rank() + 1));
    std::vector<float> out(static_cast<std::size_t>(s.shape.local_len * H));
    const auto text = error_of<InvalidArgument>([&] {
      s.gather.slice_local(s.shape, partial, Rows<float>(out.data(), s.shape.local_len, H),
                           HostStream{});
    });
    expect(text.find("partial sums; use reduce_scatter") != std::string::npos, text);
  });
}

TEST_CASE("garbage in pad rows of the partial sums neither leaks nor confuses the check") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Step1<MaxLen> s(rank, {3, 1});
    const auto partial = s.gather.partial_slot(s.shape);
    std::memset(partial.data(), 0xFF, static_cast<std::size_t>(partial.size()) * sizeof(float));
    const auto counts = s.gather.counts();
    for (std::int64_t d = 0; d < 2; ++d)
      for (std::int64_t i = 0; i < counts.valid[d] * H; ++i)
        partial.row(counts.offsets[d])[i] = static_cast<float>(rank.rank() + 1);
    std::vector<float> out(static_cast<std::size_t>(s.shape.local_len * H), 9.0f);
    s.gather.reduce_scatter(s.shape, partial, Rows<float>(out.data(), s.shape.local_len, H),
                            HostStream{});
    for (std::int64_t i = 0; i < s.shape.local_len * H; ++i)
      expect(out[static_cast<std::size_t>(i)] == (i < s.own() * H ? 3.0f : 0.0f), "element ", i,
             " is ", out[static_cast<std::size_t>(i)]);
  });
}

TEST_CASE("FFN groups exchange among themselves, each over its own communicator") {
  test::on_ranks({.dp = 4, .ffn_dp = 2}, [](test::Rank& rank) {
    auto group = rank.comm.split(rank.layout.group(rank.rank()), rank.rank());
    DpGather<Auto<>> gather(group, {.layout = rank.layout, .hidden = H, .max_local_rows = 16});
    const std::vector<std::int64_t> counts{4, 4, 9, 0};  // one group is balanced, the other is not
    const Step step = rank.agree(rows_of(counts[static_cast<std::size_t>(rank.dp())]));
    const ShapeKey shape = gather.exact_shape(step);
    expect(shape.transport == (rank.dp() < 2 ? Transport::max_len : Transport::sum_len_peer_store),
           "each group decides for itself");
    gather.begin_step(step, shape, HostStream{});
    const auto own = counts[static_cast<std::size_t>(rank.dp())];
    const auto data = rows(rank.dp(), own);
    const auto all = gather.gather(shape, Rows<const float>(data.data(), own, H), HostStream{});
    const int first = rank.dp() / 2 * 2;
    for (int d = 0; d < 2; ++d) {
      const auto want = rows(first + d, counts[static_cast<std::size_t>(first + d)]);
      expect(std::equal(want.begin(), want.end(), all.row(gather.counts().offsets[d])), "block ",
             d);
    }
    expect(all.rows() == (first == 0 ? 8 : 9), "global len ", all.rows());
  });
}

TEST_CASE("a language-model head gathers logits rows by the same template") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    DpGather<MaxLen> tokens(rank.comm, {.layout = rank.layout, .hidden = H, .max_local_rows = 32});
    DpGather<MaxLen> head(
        rank.comm,
        {.layout = rank.layout, .hidden = H, .max_local_rows = 4, .axis = RowAxis::logits});
    const std::int64_t n = rank.dp() == 0 ? 20 : 7;
    const Step step = rank.agree({.tokens = n,
                                  .requests = rank.dp() + 1,
                                  .logits = rank.dp() + 1,
                                  .forward = Forward::extend});
    expect(tokens.exact_shape(step).global_len == 40 && head.exact_shape(step).global_len == 4,
           "lens");
    const ShapeKey shape = head.exact_shape(step);
    head.begin_step(step, shape, HostStream{});
    const auto data = rows(rank.dp(), rank.dp() + 1);
    const auto all =
        head.gather(shape, Rows<const float>(data.data(), rank.dp() + 1, H), HostStream{});
    expect(all(0, 0) == 1.0f && all(1, 0) == 0.0f && all(2, 0) == 1001.0f && all(3, 0) == 1005.0f,
           "logits rows");
  });
}

TEST_CASE("each phase of a step has its own gather") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    DpGather<MaxLen> verify(rank.comm,
                            {.layout = rank.layout, .hidden = H, .max_local_rows = 32, .phase = 1});
    const Phase phases[] = {
        {.tokens = 2, .requests = 2, .forward = Forward::draft_decode},
        {.tokens = 6, .requests = 2, .forward = Forward::target_verify, .width = 3}};
    rank.agreement.post(phases);
    const Step step = rank.agreement.wait();
    expect(verify.exact_shape(step).local_len == 6, "phase 1 has 6 rows");
  });
}

TEST_CASE(
    "a step above the capacity throws the same error on every rank, before anything is changed") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    DpGather<SumLen<AllGatherV>> gather(
        rank.comm,
        {.layout = rank.layout, .hidden = H, .max_local_rows = 8, .max_global_rows = 12});
    const Step first = rank.agree(rows_of(5));
    gather.begin_step(first, gather.exact_shape(first), HostStream{});
    const Step longer = rank.agree(rows_of(rank.rank() == 0 ? 9 : 1));
    expect(error_of<CapacityError>([&] {
             gather.begin_step(longer, gather.exact_shape(longer), HostStream{});
           }) == "DP rank 0 has 9 rows, 9 after padding, max_local_rows is 8",
           "local");
    const Step more = rank.agree(rows_of(7));
    expect(error_of<CapacityError>([&] {
             gather.begin_step(more, gather.exact_shape(more), HostStream{});
           }) == "global len is 14, max_global_rows is 12",
           "global");
    expect(gather.plan().shape.global_len == 10 && gather.counts().valid[0] == 5,
           "the running step changed");
  });
}

TEST_CASE("rows of the wrong shape are refused with both shapes in the text") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    Step1<MaxLen> s(rank, {3});
    std::vector<float> data(64);
    const HostStream stream;
    const auto refused = [&](auto call, const char* part) {
      const auto text = error_of<InvalidArgument>(call);
      expect(text.find(part) != std::string::npos, text, " lacks ", part);
    };
    refused([&] { s.gather.gather(s.shape, Rows<const float>(data.data(), 2, H), stream); },
            "rows are [2, 4], must be at least [3, 4]");
    refused([&] { s.gather.gather(s.shape, Rows<const float>(data.data(), 3, 5), stream); },
            "rows are [3, 5]");
    refused(
        [&] {
          s.gather.reduce_scatter(s.shape, Rows<const float>(data.data(), 2, H),
                                  Rows<float>(data.data(), 3, H), stream);
        },
        "rows are [2, 4]");
    refused(
        [&] {
          s.gather.reduce_scatter(s.shape, Rows<const float>(data.data(), 3, H, 6),
                                  Rows<float>(data.data() + 32, 3, H), stream);
        },
        "stride 6, must be contiguous");
    ShapeKey other = s.shape;
    other.local_len = 7;
    refused([&] { s.gather.gather(other, Rows<const float>(data.data(), 7, H), stream); },
            "begin_step was given");
  });
}

TEST_CASE("an exact shape is of its step: a later step with the same lens must begin too") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    Step1<MaxLen> s(rank, {4, 2});
    const Step next = rank.agree(rows_of(rank.dp() == 0 ? 4 : 3));
    const ShapeKey shape = s.gather.exact_shape(next);
    expect(shape.local_len == s.shape.local_len && shape.global_len == s.shape.global_len,
           "same lens");
    const auto data = rows(rank.dp(), 4);
    const auto text = error_of<InvalidArgument>(
        [&] { s.gather.gather(shape, Rows<const float>(data.data(), 4, H), HostStream{}); });
    expect(text.find("of step 1, begin_step was given") != std::string::npos, text);
  });
}

TEST_CASE("a mode refuses a transport it was not built for, and static shapes above its buffers") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    DpGather<MaxLen> gather(rank.comm, {.layout = rank.layout, .hidden = H, .max_local_rows = 8});
    ShapeKey shape{.local_len = 4,
                   .global_len = 4,
                   .transport = Transport::sum_len_all_reduce,
                   .is_static = true};
    expect(error_of<InvalidArgument>([&] {
             (void)gather.slot(shape);
           }).find("cannot use transport sum_len") != std::string::npos,
           "transport");
    shape = {.local_len = 16, .global_len = 16, .is_static = true};
    expect(error_of<CapacityError>([&] {
             (void)gather.slot(shape);
           }).find("exceeds max_local_rows 8") != std::string::npos,
           "capacity");
  });
}

TEST_CASE("a configuration that cannot be is refused with value and limit") {
  ThreadComm<> comm(std::make_shared<ThreadHub>(1), 0);
  const auto refused = [&](const GatherConfig& config, const char* part) {
    const auto text = error_of<InvalidArgument>([&] { DpGather<MaxLen> gather(comm, config); });
    CHECK(text.find(part) != std::string::npos);
  };
  refused({.layout = {.dp = 2}, .hidden = 1, .max_local_rows = 1},
          "the communicator has 1 ranks, the FFN group has 2");
  refused({.layout = {}, .hidden = 0, .max_local_rows = 1}, "hidden is 0");
  refused({.layout = {}, .hidden = 1, .max_local_rows = 0}, "max_local_rows is 0");
  refused({.layout = {}, .hidden = 1, .max_local_rows = 1, .max_global_rows = -1},
          "max_global_rows is -1");
  refused({.layout = {}, .hidden = 1, .max_local_rows = 1, .phase = -1}, "phase is -1");
  refused({.layout = {.dp = 0}, .hidden = 1, .max_local_rows = 1}, "dp is 0");
}

TEST_CASE("rounding pads MAX_LEN further, and the pads are zero") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    DpGather<MaxLen, float, ThreadComm<>, RoundUp<8>> gather(
        rank.comm, {.layout = rank.layout, .hidden = H, .max_local_rows = 10});
    const Step step = rank.agree(rows_of(3 + rank.dp()));
    const ShapeKey shape = gather.exact_shape(step);
    expect(shape.local_len == 8 && shape.global_len == 16 && gather.config().max_local_rows == 16,
           "lens");
    gather.begin_step(step, shape, HostStream{});
    const auto data = rows(rank.dp(), 3 + rank.dp());
    const auto all =
        gather.gather(shape, Rows<const float>(data.data(), 3 + rank.dp(), H), HostStream{});
    expect(all(2, 0) != 0.0f && all(3, 0) == 0.0f && all(7, 3) == 0.0f && all(11, 0) != 0.0f &&
               all(12, 0) == 0.0f,
           "pads");
  });
}

TEST_CASE("an eager step allocates nothing once warm, in any mode") {
  const auto steady = [](auto mode) {
    test::on_ranks({.dp = 2, .attn_tp = 2}, [&](test::Rank& rank) {
      Step1<decltype(mode)> s(rank, {3, 5}, mode);
      const auto data = rows(rank.dp(), s.own());
      std::vector<float> out(6 * H);
      const auto one = [&] {
        s.begin();
        const auto all =
            s.gather.gather(s.shape, Rows<const float>(data.data(), s.own(), H), HostStream{});
        const auto partial = s.gather.partial_slot(s.shape);
        for (std::int64_t i = 0; i < all.size(); ++i)
          partial.data()[i] = all.data()[i] * static_cast<float>(rank.rank() + 1);
        s.gather.reduce_scatter(s.shape, partial, Rows<float>(out.data(), s.shape.local_len, H),
                                HostStream{});
      };
      for (int i = 0; i < 4; ++i) one();
      const auto before = support::allocations_of_this_thread();
      for (int i = 0; i < 20; ++i) one();
      const auto count = support::allocations_of_this_thread() - before;
      expect(count == 0, count, " allocations");
    });
  };
  steady(MaxLen{});
  steady(SumLen<AllReduce>{});
  steady(SumLen<AllGatherV>{});
  steady(Auto<>{});
  steady(Auto<>{.peer_stores = false});
}
