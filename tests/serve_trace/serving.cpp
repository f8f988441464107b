// The whole loop on threads: every row right, and every figure as the dry run has it.
#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "dry_run.hpp"
#include "report.hpp"
#include "serve.hpp"
#include "small_traffic.hpp"

using namespace serve_trace;

namespace {

void check_against_dry_run(const Options& options, const Trace& trace) {
  const Figures served = serve_threads(options, trace);
  const Figures planned = dry_run(options, trace);
  CHECK(served.wrong_rows == 0);
  CHECK(served.checked_rows == served.rows * options.attn_tp);
  CHECK(served.good());
  CHECK(served.requests == planned.requests);
  CHECK(served.steps == planned.steps);
  CHECK(served.idle_steps == planned.idle_steps);
  CHECK(served.live_steps == planned.live_steps);
  CHECK(served.decode_only_steps == planned.decode_only_steps);
  CHECK(served.max_len_steps == planned.max_len_steps);
  CHECK(served.sum_len_steps == planned.sum_len_steps);
  CHECK(served.rows == planned.rows);
  CHECK(served.prefill_rows == planned.prefill_rows);
  CHECK(served.decode_rows == planned.decode_rows);
  CHECK(served.launched.moved_out == planned.launched.moved_out);
  CHECK(served.launched.moved_back == planned.launched.moved_back);
  CHECK(served.launched == planned.launched);
  CHECK(served.choices == planned.choices);
  CHECK(served.graphs.keys == planned.graphs.keys);
  CHECK(served.graphs.most_keys == planned.graphs.most_keys);
  CHECK(served.graphs.dropped == planned.graphs.dropped);
  CHECK(served.graphs.retunings == planned.graphs.retunings);
  CHECK(served.graphs.captures == planned.graphs.captures);
  CHECK(served.graphs.replays == planned.graphs.replays);
  CHECK(served.graphs.eager_steps == planned.graphs.eager_steps);
  CHECK(served.graphs.eager_reasons == planned.graphs.eager_reasons);
}

}  // namespace

TEST_CASE("no row is wrong at any rank count, attention TP, mode or kind of instance") {
  std::uint64_t seed = 100;
  for (const int ranks : {1, 2, 3, 8})
    for (const int attn_tp : {1, 2})
      for (const ModeChoice mode : {ModeChoice::max_len, ModeChoice::sum_len, ModeChoice::sum_len_v,
                                    ModeChoice::sum_len_peer, ModeChoice::auto_rule})
        for (const Serve serve : {Serve::mixed, Serve::decode}) {
          Options options = small_options();
          options.ranks = ranks;
          options.attn_tp = attn_tp;
          options.mode = mode;
          options.serve = serve;
          options.seed = ++seed;
          CAPTURE(ranks);
          CAPTURE(attn_tp);
          CAPTURE(name(mode));
          CAPTURE(name(serve));
          CAPTURE(options.seed);
          check_against_dry_run(options, small_trace(options.seed));
        }
}

TEST_CASE("ranks on several hosts, or with all memory out of reach, serve rightly") {
  std::uint64_t seed = 300;
  for (const int hosts : {1, 2, 4})
    for (const int attn_tp : {1, 2})
      for (const ModeChoice mode : {ModeChoice::sum_len_hier, ModeChoice::auto_rule})
        for (const Serve serve : {Serve::mixed, Serve::decode}) {
          Options options = small_options();
          options.ranks = 4;
          options.hosts = hosts;
          options.attn_tp = attn_tp;
          options.mode = mode;
          options.serve = serve;
          options.peers = hosts > 1 || mode == ModeChoice::sum_len_hier;
          options.seed = ++seed;
          CAPTURE(hosts);
          CAPTURE(attn_tp);
          CAPTURE(name(mode));
          CAPTURE(name(serve));
          CAPTURE(options.seed);
          check_against_dry_run(options, small_trace(options.seed));
        }
}

TEST_CASE("shapes tuned while serving, and few graphs, serve rightly") {
  for (const int ranks : {1, 2, 4})
    for (const ModeChoice mode :
         {ModeChoice::max_len, ModeChoice::sum_len, ModeChoice::auto_rule}) {
      Options options = small_options();
      options.ranks = ranks;
      options.serve = Serve::decode;
      options.max_running = 64;
      options.mode = mode;
      options.retune = true;
      options.graphs = 12;
      CAPTURE(ranks);
      CAPTURE(name(mode));
      const Trace trace = small_trace(21, 700, 60);
      CHECK(dry_run(options, trace).graphs.retunings > 0);
      check_against_dry_run(options, trace);
      options.retune = false;
      options.graphs = 2;
      CHECK(dry_run(options, trace).graphs.dropped > 0);
      check_against_dry_run(options, trace);
    }
}

TEST_CASE("the traffic of these tests has idle steps, all forward modes and misfits") {
  const Options options = small_options();
  Figures sum;
  for (std::uint64_t seed = 101; seed < 111; ++seed) {
    const Figures figures = dry_run(options, small_trace(seed));
    sum.idle_steps += figures.idle_steps;
    sum.decode_only_steps += figures.decode_only_steps;
    sum.max_len_steps += figures.max_len_steps;
    sum.sum_len_steps += figures.sum_len_steps;
    for (const auto& [reason, steps] : figures.graphs.eager_reasons)
      sum.graphs.eager_reasons[reason] += steps;
  }
  CHECK(sum.idle_steps > 10);
  CHECK(sum.decode_only_steps > 10);
  CHECK(sum.max_len_steps > 10);
  CHECK(sum.sum_len_steps > 10);
  CHECK(sum.graphs.eager_reasons["prefill"] > 10);
  Options decode = options;
  decode.serve = Serve::decode;
  decode.ranks = 1;
  CHECK(dry_run(decode, small_trace(102, 60, 60)).graphs.eager_reasons["too_large"] > 0);
  check_against_dry_run(decode, small_trace(102, 60, 60));
}

TEST_CASE("the tie rule, an odd hidden size and more ranks than FFN columns serve rightly") {
  Options options = small_options();
  options.rule = RuleChoice::volume_tie_max;
  options.hidden = 37;
  check_against_dry_run(options, small_trace(7));
  options.hidden = 24;  // F is 48
  options.ranks = 50;
  options.steps = 12;
  check_against_dry_run(options, small_trace(8));
}

TEST_CASE("sums stay exact at the largest hidden size") {
  Options options = small_options();
  options.hidden = max_hidden;
  options.ranks = 2;
  options.steps = 6;
  check_against_dry_run(options, small_trace(9));
}

TEST_CASE("--steps serves the first steps and no more") {
  Options options = small_options();
  const Trace trace = small_trace(3);
  for (const std::int64_t steps : {1, 2, 7}) {
    options.steps = steps;
    CHECK(serve_threads(options, trace).steps == steps);
    CHECK(dry_run(options, trace).steps == steps);
  }
}

TEST_CASE("sum_len_v moves the rows that exist and no others") {
  Options options = small_options();
  options.mode = ModeChoice::sum_len_v;
  for (const int attn_tp : {1, 2}) {
    options.attn_tp = attn_tp;
    const Figures figures = serve_threads(options, small_trace(12));
    CHECK(figures.launched.moved_out == figures.rows);
    CHECK(figures.launched.moved_back == figures.rows);
  }
}

TEST_CASE("progress is told once a step, by rank 0") {
  Options options = small_options();
  const Trace trace = small_trace(4);
  std::int64_t calls = 0, last_step = 0, last_rows = 0;
  const Figures figures = serve_threads(
      options, trace, {.tamper = {}, .on_step = [&](std::int64_t step, std::int64_t rows) {
                         ++calls, last_step = step, last_rows = rows;
                       }});
  CHECK(calls == figures.steps);
  CHECK(last_step == figures.steps);
  CHECK(last_rows == rows_owed(trace, options.serve));
}

TEST_CASE("a rank that fails ends the run with its own error, whatever the others wait for") {
  Options options = small_options();
  options.mode = ModeChoice::max_len;
  for (const Stage stage : {Stage::produced, Stage::computed, Stage::returned}) {
    const Hooks hooks{.tamper =
                          [stage](Stage at, int rank, std::int64_t step, dpgather::Rows<float>) {
                            if (at == stage && rank == 1 && step == 5)
                              throw std::runtime_error("rank 1 gave up");
                          },
                      .on_step = {}};
    CHECK_THROWS_WITH((void)serve_threads(options, small_trace(4), hooks), "rank 1 gave up");
  }
}

TEST_CASE("the report says what was served, moved and checked") {
  Options options = small_options();
  options.attn_tp = 2;
  const Trace trace = small_trace(6);
  Figures figures = serve_threads(options, trace);
  const auto says = [&](const std::string& text) {
    const std::string table = report(options, trace, figures);
    CAPTURE(table);
    CHECK(table.find(text) != std::string::npos);
  };
  says("synthetic traffic, seed 6: 40 requests");
  says("3 DP x 2 attention TP; mixed instance, chunk 24, at most 9 running");
  says("auto by rule volume");
  says("all ranks reach each other's memory");
  says("only rows that exist");
  says("moved out to each rank");
  says(": 0 wrong");
  says("equal to the plan");
  figures.rows = 1234567;
  figures.wrong_rows = 89;
  ++figures.launched.moved_out;
  says("1,234,567 token rows");
  says(": 89 wrong");
  says("THEY DIFFER FROM THE PLAN");
  CHECK_FALSE(figures.good());
  options.dry_run = true;
  says("in a dry run no data moves");
}
