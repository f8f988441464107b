#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/agree/divergence.hpp>
#include <dpgather/comm/callable_control.hpp>

#include "support/allocations.hpp"
#include "support/ranks.hpp"

using namespace dpgather;
using test::expect;

namespace {

Phase decode(std::int64_t n) {
  return {.tokens = n, .requests = n, .forward = n ? Forward::decode : Forward::idle};
}
HistoryEntry entry(std::int64_t step, std::uint64_t key = 0) {
  return {.step = step, .key = key, .did = Did::user};
}
bool has(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

/// What each rank's error and table say, after `act` on rank `odd` before the last of `steps` steps.
struct Told {
  std::string what, detail, table;
};
template <class Act>
std::vector<Told> diverge(int world, int odd, int steps, const Act& act) {
  std::vector<Told> told(static_cast<std::size_t>(world));
  test::on_ranks({.dp = world}, [&](test::Rank& rank) {
    Told& mine = told[static_cast<std::size_t>(rank.rank())];
    for (int i = 0; i < steps; ++i) {
      (void)rank.agree(decode(rank.rank()));  // counts of one's own are no difference
      rank.agreement.set_state(static_cast<std::uint64_t>(i), concat("graphs after step ", i));
    }
    if (rank.rank() == odd) act(rank.agreement);
    try {
      (void)rank.agree(decode(1));
      expect(false, "no error");
    } catch (const DivergenceError& error) {
      mine = {error.what(), error.detail(), rank.agreement.last_divergence()};
    }
    rank.agreement.set_state(0);
    expect(rank.agree(decode(1)).index() == steps + 1, "the next step works");
  });
  return told;
}

}  // namespace

TEST_CASE("ranks whose states differ name both and who is in them, and show what they did last") {
  for (const int world : {2, 3, 8}) {
    const auto told = diverge(world, 1, 3, [](auto& agreement) {
      agreement.history()->add({.step = 2, .key = 0xabcdef, .did = Did::invalidate});
      agreement.set_state(99, "no graph");
    });
    for (const Told& rank : told) {
      CHECK(rank.detail == told[0].detail);
      CHECK(rank.table == told[0].table);
      const std::string others = world == 2   ? "rank 0"
                                 : world == 3 ? "ranks 0, 2"
                                              : "ranks 0, 2, 3";
      CHECK(has(rank.detail, "state of the graph cache differs: " + others));
      CHECK(has(rank.detail, ": graphs after step 2; rank 1: no graph"));
      CHECK(rank.detail.find('\n') == rank.detail.npos);
      CHECK(has(rank.what, rank.detail + "\n"));
      CHECK(has(rank.table, others));
      // Two entries of `post` differ by state; the first that differs is the one that rank 1 added.
      CHECK(has(rank.table, "\n>3      step 3 post"));
      CHECK(has(rank.table, "step 2 invalidate #00abcdef"));
      CHECK(std::count(rank.table.begin(), rank.table.end(), '>') == 2);
      CHECK(has(rank.what, "\n>3 "));
    }
  }
}

TEST_CASE("the table keeps the last 64 entries of each rank and says if they differed before") {
  const auto told = diverge(2, 1, 100, [](auto& agreement) {
    for (int i = 0; i < 70; ++i) agreement.history()->add(entry(i));
    agreement.set_state(999);
  });
  // Rank 0 did 101 things and keeps 37 to 100, rank 1 171 and keeps 107 to 170.
  CHECK(has(told[0].table, "> is the first entry kept"));
  CHECK(std::count(told[0].table.begin(), told[0].table.end(), '\n') == 1 + (170 - 37 + 1) - 6);
  CHECK(has(told[0].detail, "rank 1: state 999"));  // without words, the hash
}

TEST_CASE("ranks that did the same share a column, and more columns than fit are counted") {
  std::vector<RankHistory> all(7);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    all[rank].add(entry(0));
    all[rank].add(entry(1, rank % 6 + 1));
  }
  const detail::SideBySide ranks(all);
  CHECK(ranks.first_difference() == 1);
  const std::string text = ranks.to_string();
  CHECK(has(text, "ranks 0, 6"));
  CHECK(has(text, "2 more columns are left out"));
  CHECK(has(text, "\n 0      step 0 user"));
  CHECK(has(text, "\n>1      step 1 user #00000001"));
  CHECK(detail::SideBySide(std::vector<RankHistory>(3)).first_difference() == std::nullopt);
  CHECK(has(detail::SideBySide(std::span(all).first(1)).to_string(), "the same, as far as"));
}

TEST_CASE("a history that has room left shows where one rank stopped") {
  std::vector<RankHistory> all(2);
  for (int i = 0; i < 5; ++i) all[0].add(entry(i));
  for (int i = 0; i < 3; ++i) all[1].add(entry(i));
  const detail::SideBySide ranks(all);
  CHECK(ranks.first_difference() == 3);
  CHECK(has(ranks.to_string(), "-\n"));
  CHECK(has(ranks.to_string(2), "\n>3"));
  CHECK(!has(ranks.to_string(2), "\n 0 "));
}

TEST_CASE(
    "replays that were not the same are found when a capture ends, before anything is dropped") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    (void)rank.agree(decode(1));
    try {
      (void)rank.agreement.confirm({.key = 5, .uses = rank.rank() == 1 ? 4u : 3u});
      expect(false, "no error");
    } catch (const DivergenceError& error) {
      expect(error.detail() ==
                 "ranks 0 and 1 replayed other graphs, or in another order: hash 3 and 4",
             error.detail());
    }
  });
}

TEST_CASE("a peer that is gone when histories are told leaves the error, with one's own history") {
  // A control plane of two whose second all-gather fails, as when the peer's process ended.
  int rounds = 0;
  const auto all_gather = [&](std::span<const std::byte> mine, std::span<std::byte> all) {
    if (++rounds == 2) throw std::runtime_error("connection reset");
    std::copy(mine.begin(), mine.end(), all.begin());
    std::copy(mine.begin(), mine.end(), all.begin() + static_cast<std::ptrdiff_t>(mine.size()));
    detail::StepRecord theirs;
    std::memcpy(&theirs, mine.data(), sizeof(theirs));
    theirs.rank = 1;
    theirs.state = 7;
    std::memcpy(all.data() + mine.size(), &theirs, sizeof(theirs));
  };
  CallableControl control(0, 2, all_gather);
  StepAgreement agreement(control, {.dp = 2});
  agreement.post(decode(1));
  try {
    (void)agreement.wait();
    CHECK(false);
  } catch (const DivergenceError& error) {
    CHECK(has(error.detail(), "rank 0: state 0; rank 1: state 7"));
    CHECK(
        has(error.what(), "the other ranks did not tell: control plane failed: connection reset"));
    CHECK(has(agreement.last_divergence(), "step 0 post"));
  }
}

TEST_CASE("a peer that leaves in place of telling its history frees the others at once") {
  const auto board = std::make_shared<ThreadControlBoard>(3);
  std::atomic<int> told{0};
  run_ranks(3, [&](int rank) {
    ThreadControl control(board, rank);
    if (rank == 1) {
      detail::StepRecord record;
      record.rank = 1, record.step = 5;
      std::vector<detail::StepRecord> all(3);
      control.post(std::as_bytes(std::span(&record, 1)));
      control.wait(std::as_writable_bytes(std::span(all)));
      return;
    }
    StepAgreement agreement(control, {.dp = 3});
    agreement.post(decode(1));
    try {
      (void)agreement.wait();
    } catch (const DivergenceError& error) {
      told += has(error.detail(), "step differs: rank 0 has 0, rank 1 has 5") &&
              has(error.what(), "the other ranks did not tell: ") &&
              has(error.what(), "rank 1 left");
    }
  });
  CHECK(told == 2);
}

TEST_CASE("a record of another version is told as that; its histories are not asked for") {
  int rounds = 0;
  const auto all_gather = [&](std::span<const std::byte> mine, std::span<std::byte> all) {
    ++rounds;
    std::copy(mine.begin(), mine.end(), all.begin());
    all[0] = std::byte(0);
  };
  CallableControl control(0, 1, all_gather);
  StepAgreement agreement(control, {.dp = 1});
  agreement.post(decode(1));
  CHECK_THROWS_WITH_AS((void)agreement.wait(), doctest::Contains("another version of the library"),
                       DivergenceError);
  CHECK(rounds == 1);
}

TEST_CASE("an entry reads as step, operation, lens, bytes, key and note; a long note is cut") {
  HistoryEntry e{.step = 3,
                 .bytes = 4096,
                 .key = 0x1234567890abcdef,
                 .local_len = 4,
                 .global_len = 8,
                 .did = Did::capture};
  e.set_note("mode_not_capturable_and_more");
  CHECK(e.to_string() == "step 3 capture 4/8 4096 B #90abcdef mode_not_capturable_an");
  CHECK(HistoryEntry{}.to_string() == "user");
  CHECK(name(Did(99)) == "unknown");
}

TEST_CASE("keeping history and state allocates nothing") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const std::string words(500, 'w');
    for (int i = 0; i < 70; ++i) (void)rank.agree(decode(i));
    const auto before = support::allocations_of_this_thread();
    for (int i = 0; i < 70; ++i) {
      rank.agreement.set_state(static_cast<std::uint64_t>(i), words);
      rank.agreement.history()->add(entry(i));
      (void)rank.agree(decode(i));
    }
    const auto count = support::allocations_of_this_thread() - before;
    expect(count == 0, count, " allocations");
  });
}
