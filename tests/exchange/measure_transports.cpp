// Start-up measurement between threads: by a clock of the test's own what it finds is known, and by
// a real one all ranks have the same.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/dpgather.hpp>

#include "support/hosts_comm.hpp"
#include "support/ranks.hpp"
#include "support/seed.hpp"

using namespace dpgather;
using test::expect;

namespace {

constexpr std::int64_t H = 16, most = 64;

/// Time passes as elements move, `per_element` seconds each, and `per_run` for every pair of looks
/// at the clock.
template <class Comm>
struct MovedSeconds {
  const Comm* comm;
  double per_element, per_run;
  int looks = 0;
  double operator()() {
    return static_cast<double>(comm->elements_moved()) * per_element + ++looks / 2 * per_run;
  }
};

bool same(const Measurement& a, const Measurement& b) {
  if (!(a.table == b.table) || a.sizes.size() != b.sizes.size() || a.seconds != b.seconds)
    return false;
  for (std::size_t i = 0; i < a.sizes.size(); ++i)
    if (a.sizes[i].repetitions != b.sizes[i].repetitions || a.sizes[i].rows != b.sizes[i].rows ||
        a.sizes[i].sample.seconds != b.sizes[i].sample.seconds)
      return false;
  return true;
}

/// `measure(rank, ffn)` on every rank; all must come to the same.
template <class Comm = ThreadComm<>, class Measure>
Measurement on_all(const DpLayout& layout, const Measure& measure, int ranks_per_host = 1 << 10) {
  std::vector<Measurement> all(static_cast<std::size_t>(layout.world()));
  std::mutex mutex;
  test::on_ranks(layout, [&](test::Rank& rank) {
    auto split = rank.comm.split(layout.group(rank.rank()), rank.rank());
    const auto keep = [&](Measurement&& mine) {
      const std::lock_guard lock(mutex);
      all[static_cast<std::size_t>(rank.rank())] = std::move(mine);
    };
    if constexpr (std::is_same_v<Comm, test::HostsComm>) {
      test::HostsComm ffn(std::move(split), rank.rank() / ranks_per_host);
      keep(measure(rank, ffn));
    } else {
      keep(measure(rank, split));
    }
  });
  for (const Measurement& one : all) CHECK(same(one, all.front()));
  return all.front();
}

GatherConfig config_of(const DpLayout& layout) {
  return {.layout = layout, .hidden = H, .max_local_rows = most};
}

}  // namespace

TEST_CASE("where time is what moves, curves are what moves, and the rule takes what moves least") {
  const DpLayout layout{.dp = 4};
  const double per_element = 1e-9;
  // Peers on hosts of their own, so that MAX_LEN and the sums have to be told apart.
  const Measurement found = on_all<test::HostsComm>(
      layout,
      [&](test::Rank& rank, test::HostsComm& ffn) {
        return measure_transports(ffn, rank.control, config_of(layout), {}, {},
                                  MovedSeconds<test::HostsComm>{&ffn, per_element, 1e-6});
      },
      1);
  CHECK(!found.table.of(Transport::sum_len_peer_store));
  CHECK(!found.table.of(Transport::sum_len_hierarchical));
  // Counted by a gather of the same rows, out and back, on the rank that moves most.
  for (const bool one_hot : {false, true})
    for (const std::int64_t rows : {8, 40, 64}) {
      const std::vector<std::int64_t> counts =
          one_hot ? std::vector<std::int64_t>{rows, 0, 0, 0} : std::vector<std::int64_t>(4, rows);
      const auto moved = [&](auto mode) {
        std::atomic<std::uint64_t> largest = 0;
        test::on_ranks(layout, [&](test::Rank& rank) {
          DpGather<decltype(mode)> gather(rank.comm, config_of(layout));
          const std::int64_t n = counts[static_cast<std::size_t>(rank.dp())];
          const Step step = rank.agree_decode(n);
          const ShapeKey shape = gather.exact_shape(step);
          gather.begin_step(step, shape, {});
          std::vector<float> mine(static_cast<std::size_t>(most * H), 1.f);
          const Rows<float> own(mine.data(), n, H);
          gather.gather(shape, own, {});
          const Rows<float> partial = gather.partial_slot(shape);
          for (std::int64_t i = 0; i < partial.size(); ++i)
            partial.data()[i] = static_cast<float>(rank.rank());
          gather.reduce_scatter(shape, partial, own, {});
          std::uint64_t seen = largest;
          const std::uint64_t here = gather.moved().out + gather.moved().back;
          while (seen < here && !largest.compare_exchange_weak(seen, here)) {
          }
        });
        return static_cast<double>(largest) * per_element + 1e-6;
      };
      INFO(rows, " rows, one-hot ", one_hot);
      const double by_max_len = moved(MaxLen{}), by_all_reduce = moved(SumLen<AllReduce>{}),
                   by_v = moved(SumLen<AllGatherV>{});
      const auto predicted = [&](Transport transport) {
        return found.table.seconds(transport, counts);
      };
      CHECK(predicted(Transport::max_len) == doctest::Approx(by_max_len).epsilon(0.02));
      CHECK(predicted(Transport::sum_len_all_reduce) ==
            doctest::Approx(by_all_reduce).epsilon(0.02));
      CHECK(predicted(Transport::sum_len_all_gather_v) == doctest::Approx(by_v).epsilon(0.02));
      const auto taken = [&](const Allowed& allowed) {
        switch (*MeasuredRule(found.table).choose({counts}, allowed).transport) {
          case Transport::max_len:
            return by_max_len;
          case Transport::sum_len_all_reduce:
            return by_all_reduce;
          default:
            return by_v;
        }
      };
      CHECK(taken({}) <= 1.04 * std::min({by_max_len, by_all_reduce, by_v}));
      CHECK(taken({.captured = true}) <= 1.04 * std::min(by_max_len, by_all_reduce));
      if (one_hot) CHECK(by_max_len > 1.3 * std::min(by_all_reduce, by_v));
    }
}

TEST_CASE("sizes and repetitions keep within the budget, and what is left out is extrapolated") {
  const DpLayout layout{.dp = 2};
  const auto measured = [&](double seconds, double per_element) {
    return on_all(layout, [&](test::Rank& rank, ThreadComm<>& ffn) {
      return measure_transports(ffn, rank.control, config_of(layout), {},
                                {.budget = {.seconds = seconds, .sizes = 7}},
                                MovedSeconds<ThreadComm<>>{&ffn, per_element, 1e-9});
    });
  };
  constexpr std::size_t lines = 8;  // four transports, even and one-hot
  const Measurement quick = measured(1.5, 1e-9);
  CHECK(quick.sizes.size() == lines * 7);
  for (const MeasuredSize& size : quick.sizes)
    CHECK(size.repetitions == MeasureBudget{}.most_repetitions);
  CHECK(quick.seconds <= 1.5);

  const Measurement slow = measured(1.5, 2e-5);
  CHECK(slow.seconds <= 1.5);
  CHECK(slow.sizes.size() < lines * 7);
  CHECK(slow.sizes.size() > lines * 2);

  const Measurement stuck = measured(1.5, 1);  // a second for every element
  CHECK(stuck.sizes.size() == lines * 2);
  for (const MeasuredSize& size : stuck.sizes) CHECK(size.repetitions == 1);

  const std::vector<std::int64_t> large{most, most};
  const double times = slow.table.seconds(Transport::max_len, large) /
                       quick.table.seconds(Transport::max_len, large);
  CHECK(times == doctest::Approx(2e4).epsilon(0.05));
}

TEST_CASE("ranks whose clocks differ still make the same calls and have the same table") {
  support::Random random(support::seed("clocks that differ", 71));
  for (const DpLayout& layout : {DpLayout{.dp = 1}, DpLayout{.dp = 3},
                                 DpLayout{.dp = 4, .ffn_dp = 2}, DpLayout{.dp = 2, .attn_tp = 2}}) {
    const double slow = static_cast<double>(random.between(1, 1000)) * 1e-7;
    const Measurement found = on_all(layout, [&](test::Rank& rank, ThreadComm<>& ffn) {
      return measure_transports(
          ffn, rank.control, config_of(layout), {}, {},
          MovedSeconds<ThreadComm<>>{&ffn, slow * (1 + rank.rank() * 3 % 5), 1e-5});
    });
    CHECK(found.table.group_dp == layout.group_dp());
    CHECK(found.table.of(Transport::sum_len_peer_store).has_value());
  }
}

TEST_CASE("by a real clock ranks have one table, of every transport that they can do") {
  for (const int dp : {1, 2, 4}) {
    const DpLayout layout{.dp = dp};
    const MeasureOptions options{.budget = {.seconds = 0.3}, .seconds_per_row = 1e-8};
    const Measurement found = on_all(layout, [&](test::Rank& rank, ThreadComm<>& ffn) {
      return measure_transports<bf16>(ffn, rank.control, config_of(layout), {}, options);
    });
    found.table.check();
    CHECK(found.table.row_bytes == H * 2);
    CHECK(found.table.seconds_per_row == 1e-8);
    for (std::size_t i = 0; i < transport_count; ++i)
      CHECK(found.table.costs[i].has_value() ==
            (static_cast<Transport>(i) != Transport::sum_len_hierarchical));
  }
  DpLayout layout{.dp = 4};
  GatherConfig on_two_hosts = config_of(layout);
  on_two_hosts.hosts = 2;
  const Measurement by_hosts = on_all<test::HostsComm>(
      layout,
      [&](test::Rank& rank, test::HostsComm& ffn) {
        return measure_transports(ffn, rank.control, on_two_hosts, {},
                                  {.budget = {.seconds = 0.2}});
      },
      2);
  CHECK(by_hosts.table.of(Transport::sum_len_hierarchical).has_value());
  CHECK(!by_hosts.table.of(Transport::sum_len_peer_store));
}

TEST_CASE("a rank that fails while it measures frees the others, with its reason") {
  const DpLayout layout{.dp = 3};
  for (const int fails_at : {1, 2, 5, 9, 60}) {
    std::atomic<int> freed = 0, seen_freed = 0;
    const auto run = [&] {
      test::on_ranks(layout, [&](test::Rank& rank) {
        int looks = 0;
        const auto clock = [&looks, &rank, fails_at]() -> double {
          if (rank.rank() == 1 && ++looks > fails_at) throw std::runtime_error("the clock stopped");
          return SteadySeconds{}();
        };
        try {
          (void)measure_transports(rank.comm, rank.control, config_of(layout), {}, {}, clock);
        } catch (const PeerError& error) {
          if (std::string(error.what()).find("the clock stopped") != std::string::npos) ++freed;
          throw;
        } catch (const std::runtime_error&) {
          // Its planes live on, so that nothing but the measurement itself can have freed the others.
          for (int i = 0; i < 5000 && freed < 2; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          seen_freed = freed.load();
          throw;
        }
      });
    };
    CHECK_THROWS_WITH_AS(run(), "the clock stopped", std::runtime_error);
    CHECK(seen_freed == 2);
  }
}

TEST_CASE("what cannot be measured is refused before anything is done") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const auto refused = [&](const GatherConfig& config, const MeasureOptions& options,
                             const std::string& why) {
      try {
        (void)measure_transports(rank.comm, rank.control, config, {}, options);
        expect(false, "measured in spite of: ", why);
      } catch (const InvalidArgument& error) {
        expect(error.detail() == why, error.detail());
      }
    };
    GatherConfig config = config_of(rank.layout);
    refused(config, {.budget = {.seconds = -1}}, "seconds is -1, must be above 0 and at most 3600");
    refused(config, {.seconds_per_row = -2},
            "seconds_per_row is -2, must be a finite number that is not negative");
    config.max_global_rows = 1;
    refused(config, {}, "max_global_rows is 1, must be at least 2 to measure MAX_LEN");
    rank.comm.check();
    rank.control.check();
  });
}
