// Small calls of a ThreadComm, which meet once, beside large ones, which meet twice.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/thread.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

using Values = std::vector<std::int32_t>;

/// One call, the same on all ranks.
struct Call {
  Collective op;
  int root;
  std::vector<std::int64_t> counts;  // of the ranks; for calls that have one count all are the same
  std::vector<std::int64_t> offsets;  // with gaps
};

std::int64_t most_elements(const Call& call) {
  return call.offsets.back() + call.counts.back();
}

std::vector<Call> draw_calls(support::Random& random, int ranks) {
  constexpr Collective ops[] = {Collective::all_gather,   Collective::all_reduce,
                                Collective::broadcast,    Collective::reduce_scatter,
                                Collective::all_gather_v, Collective::reduce_scatter_v,
                                Collective::barrier};
  std::vector<Call> calls;
  for (int i = 0; i < 60; ++i) {
    Call call{ops[random.between(0, 6)], static_cast<int>(random.between(0, ranks - 1)), {}, {}};
    const bool ragged =
        call.op == Collective::all_gather_v || call.op == Collective::reduce_scatter_v;
    // From far below what is staged to far above it.
    const std::int64_t most = random.chance(50) ? 20 : 3000;
    const std::int64_t count = random.between(0, most);
    std::int64_t end = 0;
    for (int r = 0; r < ranks; ++r) {
      call.offsets.push_back(end + (ragged ? random.between(0, 3) : 0));
      call.counts.push_back(ragged ? random.between(0, 1) * random.between(0, most) : count);
      end = call.offsets.back() + call.counts.back();
    }
    calls.push_back(std::move(call));
  }
  return calls;
}

/// What `rank` sends in call `number` at element `i`.
std::int32_t sent(int rank, std::size_t number, std::int64_t i) {
  return static_cast<std::int32_t>(i * 31 + rank * 1009 + static_cast<std::int64_t>(number) * 7919);
}

/// One rank's side of a call: sends, checks what it got by the formula above, and spoils what it
/// sent at once.
class Side {
 public:
  Side(ThreadComm<>& comm, const Call& call, std::size_t number, bool in_place)
      : comm_(comm),
        call_(call),
        number_(number),
        in_place_(in_place),
        ranks_(comm.size()),
        rank_(comm.rank()),
        own_(static_cast<std::size_t>(rank_)),
        count_(call.counts[0]),
        end_(most_elements(call)),
        a_(static_cast<std::size_t>(end_) + 1),
        b_(static_cast<std::size_t>(end_) + 1, -1) {
    for (std::int64_t i = 0; i <= end_; ++i) a_[static_cast<std::size_t>(i)] = value(i);
    if (in_place) b_ = a_;
  }

  void issue() {
    const HostStream stream;
    std::int32_t* const out = b_.data();
    const std::int32_t* const whole = in_place_ ? out : a_.data();
    const std::int32_t* const block = whole + call_.offsets[own_];
    switch (call_.op) {
      case Collective::all_gather:
        return comm_.all_gather(block, out, count_, stream);
      case Collective::all_gather_v:
        return comm_.all_gather_v(block, out, call_.counts, call_.offsets, stream);
      case Collective::all_reduce:
        return comm_.all_reduce(whole, out, count_, stream);
      case Collective::broadcast:
        if (rank_ == call_.root) std::copy(a_.begin(), a_.end(), b_.begin());
        return comm_.broadcast(out, count_, call_.root, stream);
      case Collective::reduce_scatter:
        return comm_.reduce_scatter(whole, out + (in_place_ ? call_.offsets[own_] : 0), count_,
                                    stream);
      case Collective::reduce_scatter_v:
        return comm_.reduce_scatter_v(whole, out + (in_place_ ? call_.offsets[own_] : 0),
                                      call_.counts, call_.offsets, stream);
      default:
        return comm_.barrier(stream);
    }
  }
  /// Elements that are wrong.
  [[nodiscard]] int wrong() const {
    int wrong = 0;
    const auto expect = [&](std::int64_t at, std::int32_t is) {
      wrong += b_[static_cast<std::size_t>(at)] != is ? 1 : 0;
    };
    switch (call_.op) {
      case Collective::all_gather:
      case Collective::all_gather_v:
        for (std::size_t r = 0; r < call_.counts.size(); ++r)
          for (std::int64_t i = call_.offsets[r]; i < call_.offsets[r] + call_.counts[r]; ++i)
            expect(i, sent(static_cast<int>(r), number_, i));
        break;
      case Collective::all_reduce:
        for (std::int64_t i = 0; i < count_; ++i) expect(i, sum(i));
        break;
      case Collective::broadcast:
        for (std::int64_t i = 0; i < count_; ++i) expect(i, sent(call_.root, number_, i));
        break;
      case Collective::reduce_scatter:
      case Collective::reduce_scatter_v:
        for (std::int64_t i = 0; i < call_.counts[own_]; ++i)
          expect((in_place_ ? call_.offsets[own_] : 0) + i, sum(call_.offsets[own_] + i));
        break;
      default:
        break;
    }
    return wrong;
  }
  void spoil() { std::fill(a_.begin(), a_.end(), -7), std::fill(b_.begin(), b_.end(), -7); }

 private:
  [[nodiscard]] std::int32_t value(std::int64_t i) const { return sent(rank_, number_, i); }
  [[nodiscard]] std::int32_t sum(std::int64_t i) const {
    std::int32_t all = 0;
    for (int r = 0; r < ranks_; ++r) all += sent(r, number_, i);
    return all;
  }

  ThreadComm<>& comm_;
  const Call& call_;
  std::size_t number_;
  bool in_place_;
  int ranks_, rank_;
  std::size_t own_;
  std::int64_t count_, end_;
  Values a_, b_;
};

}  // namespace

TEST_CASE("calls of all sizes in any order are right though ranks leave early and reuse buffers") {
  const std::uint64_t seed = support::seed("staged calls", 81);
  for (const int ranks : {1, 2, 3, 5})
    for (const std::int64_t limit : {0, 64, 4096, 65536}) {
      CAPTURE(ranks);
      CAPTURE(limit);
      support::Random random(seed + static_cast<std::uint64_t>(ranks));
      const std::vector<Call> calls = draw_calls(random, ranks);
      const auto hub = std::make_shared<ThreadHub>(ranks, default_deadline, limit);
      std::vector<int> wrong(static_cast<std::size_t>(ranks), 0);
      run_ranks(ranks, [&](int rank) {
        ThreadComm<> comm(hub, rank);
        support::Random own(seed * 31 + static_cast<std::uint64_t>(rank));
        support::Random shared(seed);
        for (std::size_t i = 0; i < calls.size();) {
          // Alone or in a group, the same on all ranks; in place, as each rank likes.
          const std::size_t together = std::min<std::size_t>(
              static_cast<std::size_t>(shared.between(1, 4)), calls.size() - i);
          std::vector<std::unique_ptr<Side>> sides;
          for (std::size_t k = i; k < i + together; ++k)
            sides.push_back(std::make_unique<Side>(comm, calls[k], k, own.chance(50)));
          comm.group([&] {
            for (auto& side : sides) side->issue();
          });
          if (own.chance(20)) std::this_thread::sleep_for(std::chrono::microseconds(50));
          for (auto& side : sides) {
            wrong[static_cast<std::size_t>(rank)] += side->wrong();
            side->spoil();
          }
          i += together;
        }
      });
      for (const int n : wrong) CHECK(n == 0);
    }
}

TEST_CASE("ranks that share the buffer of an all-gather in place find all blocks there") {
  for (const int ranks : {1, 2, 4})
    for (const std::int64_t count : {1, 100, 20000})
      for (const bool ragged : {false, true}) {
        CAPTURE(ranks);
        CAPTURE(count);
        const auto hub = std::make_shared<ThreadHub>(ranks);
        std::vector<std::int64_t> counts, offsets;
        for (int r = 0; r < ranks; ++r) {
          counts.push_back(ragged ? count + r : count);
          offsets.push_back(r == 0 ? 0 : offsets.back() + counts[static_cast<std::size_t>(r) - 1]);
        }
        const auto total = static_cast<std::size_t>(offsets.back() + counts.back());
        std::vector<float> shared(total, -1.0F);
        std::vector<int> wrong(static_cast<std::size_t>(ranks), 0);
        run_ranks(ranks, [&](int rank) {
          ThreadComm<> comm(hub, rank);
          const auto own = static_cast<std::size_t>(rank);
          for (int step = 1; step <= 20; ++step) {
            float* const mine = shared.data() + offsets[own];
            std::fill(mine, mine + counts[own], static_cast<float>(100 * rank + step));
            if (ragged)
              comm.all_gather_v<float>(mine, shared.data(), counts, offsets, HostStream{});
            else
              comm.all_gather<float>(mine, shared.data(), count, HostStream{});
            for (std::size_t r = 0; r < counts.size(); ++r)
              for (std::int64_t i = 0; i < counts[r]; ++i)
                wrong[own] += shared[static_cast<std::size_t>(offsets[r] + i)] !=
                              static_cast<float>(100 * static_cast<int>(r) + step);
            comm.barrier(HostStream{});  // all have read
          }
        });
        for (const int n : wrong) CHECK(n == 0);
      }
}

TEST_CASE("what a hub stages is a multiple of 64 bytes up to a GiB") {
  CHECK_THROWS_WITH_AS(ThreadHub(2, default_deadline, 100),
                       doctest::Contains("staged_limit is 100, must be a multiple of 64"),
                       InvalidArgument);
  CHECK_THROWS_AS(ThreadHub(2, default_deadline, -64), InvalidArgument);
  CHECK_THROWS_AS(ThreadHub(2, default_deadline, (std::int64_t{1} << 30) + 64), InvalidArgument);
}
