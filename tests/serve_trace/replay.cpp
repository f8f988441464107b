#include "replay.hpp"

#include <algorithm>
#include <list>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "small_traffic.hpp"

using namespace serve_trace;
using dpgather::Forward;

namespace {

/// The replay by the letter of its description, in its simplest form: all ranks at once, one token
/// row after the other. Rows of each rank, step by step.
struct PlainReplay {
  struct State {
    std::int64_t index, context_left, to_go;
  };
  const Trace& trace;
  const Options& options;
  std::vector<std::list<State>> waiting{static_cast<std::size_t>(options.ranks)};
  std::vector<std::list<State>> running{static_cast<std::size_t>(options.ranks)};
  std::size_t admitted = 0;
  std::int64_t step = 0;

  std::vector<std::pair<std::int64_t, std::int64_t>> next() {  // (decode, prefill) rows
    const std::int64_t now = step++ * options.step_ms * options.speedup * ticks_per_ms;
    for (; admitted < trace.requests.size() && trace.requests[admitted].arrival <= now; ++admitted)
      waiting[admitted % waiting.size()].push_back({static_cast<std::int64_t>(admitted),
                                                    trace.requests[admitted].context,
                                                    trace.requests[admitted].generated});
    std::vector<std::pair<std::int64_t, std::int64_t>> rows;
    for (std::size_t rank = 0; rank < waiting.size(); ++rank)
      rows.push_back(options.serve == Serve::mixed ? mixed(waiting[rank], running[rank])
                                                   : decode(waiting[rank], running[rank]));
    return rows;
  }
  std::pair<std::int64_t, std::int64_t> mixed(std::list<State>& wait, std::list<State>& run) const {
    const auto before = static_cast<std::int64_t>(run.size());
    std::int64_t budget = options.chunk - before, finished = 0, prefill = 0;
    for (auto it = run.begin(); it != run.end();) it = --it->to_go == 0 ? run.erase(it) : ++it;
    while (!wait.empty() && budget > 0 && finished < options.max_running - before) {
      --budget;
      ++prefill;
      if (--wait.front().context_left > 0) continue;
      ++finished;
      if (--wait.front().to_go > 0) run.push_back(wait.front());
      wait.pop_front();
    }
    return {before, prefill};
  }
  std::pair<std::int64_t, std::int64_t> decode(std::list<State>& wait,
                                               std::list<State>& run) const {
    while (!wait.empty() && static_cast<std::int64_t>(run.size()) < options.max_running) {
      run.push_back(wait.front());
      wait.pop_front();
    }
    const auto rows = static_cast<std::int64_t>(run.size());
    for (auto it = run.begin(); it != run.end();) it = --it->to_go == 0 ? run.erase(it) : ++it;
    return {rows, 0};
  }
};

Trace trace_of(std::vector<Request> requests) {
  return {.name = "t", .requests = requests};
}

}  // namespace

TEST_CASE("a step prefills what the chunk leaves after decode rows, and the rest waits") {
  Options options = small_options();
  options.ranks = 1;
  options.chunk = 10;
  options.max_running = 4;
  const Trace trace = trace_of({{0, 7, 3}, {0, 5, 1}, {0, 12, 2}});
  RankReplay replay(trace, options, 0);
  const auto step = [&](std::int64_t decode, std::int64_t prefill, Forward forward) {
    const Work& work = replay.next();
    CHECK(work.decode_rows == decode);
    CHECK(work.prefill_rows == prefill);
    CHECK(work.forward() == forward);
  };
  step(0, 10, Forward::extend);  // 7 of request 0, 3 of request 1
  step(1, 9, Forward::mixed);    // request 0 decodes; 2 of request 1, which ends; 7 of request 2
  step(1, 5, Forward::mixed);    // request 0 gives its last row; 5 of request 2
  step(1, 0, Forward::decode);   // request 2 gives its last row
  step(0, 0, Forward::idle);
  CHECK_FALSE(replay.live());
}

TEST_CASE("prefill stops at the slots that were free at the start of the step") {
  Options options = small_options();
  options.ranks = 1;
  options.chunk = 100;
  options.max_running = 2;
  const Trace trace = trace_of({{0, 1, 2}, {0, 1, 9}, {0, 1, 1}, {0, 1, 1}});
  RankReplay replay(trace, options, 0);
  CHECK(replay.next().prefill_rows == 2);
  CHECK(replay.next().rows() == 2);        // both run, no slot is free, though one leaves now
  CHECK(replay.next().prefill_rows == 1);  // one request takes the one free slot
  CHECK(replay.next().prefill_rows == 1);
}

TEST_CASE("a decode instance runs each request for all its tokens") {
  Options options = small_options();
  options.serve = Serve::decode;
  options.ranks = 1;
  options.max_running = 2;
  const Trace trace = trace_of({{0, 50, 2}, {0, 50, 1}, {0, 50, 1}});
  RankReplay replay(trace, options, 0);
  const Work& work = replay.next();
  CHECK(work.rows() == 2);
  CHECK(work.segments[0].first == 50);
  CHECK(work.segments[0].seq_len() == 51);
  CHECK(replay.next().rows() == 2);
  CHECK(replay.next().rows() == 0);
}

TEST_CASE("requests are admitted when their time has come, and a step is live until the last is") {
  Options options = small_options();
  options.ranks = 2;
  options.step_ms = 10;
  options.speedup = 1;
  const std::int64_t step_ticks = 10 * ticks_per_ms;
  const Trace trace = trace_of({{0, 1, 1}, {step_ticks, 1, 1}, {step_ticks + 1, 1, 1}});
  RankReplay zero(trace, options, 0), one(trace, options, 1);
  CHECK(zero.next().rows() == 1);
  CHECK(one.next().rows() == 0);
  CHECK(one.admitted() == 1);
  CHECK(zero.next().rows() == 0);
  CHECK(one.next().rows() == 1);
  CHECK(zero.live());
  CHECK(zero.next().rows() == 1);
  CHECK_FALSE(zero.live());
}

TEST_CASE("the replay equals a plain one, token by token, on random traffic") {
  for (const Serve serve : {Serve::mixed, Serve::decode})
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(seed);
      Options options = small_options();
      options.serve = serve;
      options.ranks = 1 + static_cast<int>(seed % 4);
      options.chunk = 3 + static_cast<std::int64_t>(seed * 7 % 40);
      options.max_running = 1 + static_cast<std::int64_t>(seed % 11);
      options.speedup = 1 + static_cast<std::int64_t>(seed % 9);
      const Trace trace = small_trace(seed, 80);
      PlainReplay plain{trace, options};
      std::vector<RankReplay> ranks;
      for (int rank = 0; rank < options.ranks; ++rank) ranks.emplace_back(trace, options, rank);
      std::int64_t total = 0;
      for (int step = 0; step < 1500; ++step) {
        const auto expected = plain.next();
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
          const Work& work = ranks[rank].next();
          REQUIRE(work.decode_rows == expected[rank].first);
          REQUIRE(work.prefill_rows == expected[rank].second);
          total += work.rows();
        }
        REQUIRE(ranks[0].live() == (plain.admitted < trace.requests.size()));
      }
      CHECK(total == rows_owed(trace, serve));
    }
}

TEST_CASE("every position of every request is served once, in order") {
  Options options = small_options();
  const Trace trace = small_trace(5);
  std::map<std::int64_t, std::int64_t> next_position;
  std::vector<RankReplay> ranks;
  for (int rank = 0; rank < options.ranks; ++rank) ranks.emplace_back(trace, options, rank);
  for (int step = 0; step < 1500; ++step)
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      std::set<std::int64_t> in_this_batch;
      for (const Segment& segment : ranks[rank].next().segments) {
        REQUIRE(static_cast<std::size_t>(segment.request) % ranks.size() == rank);
        REQUIRE(in_this_batch.insert(segment.request).second);
        REQUIRE(segment.first == next_position[segment.request]);
        next_position[segment.request] += segment.rows;
      }
    }
  for (std::size_t i = 0; i < trace.requests.size(); ++i)
    CHECK(next_position[static_cast<std::int64_t>(i)] ==
          trace.requests[i].context + trace.requests[i].generated - 1);
}
