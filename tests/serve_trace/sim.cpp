// The serving loop on simulated GPUs, over NCCL and over threads.
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

#include "policy.hpp"
#include "report.hpp"
#include "serve.hpp"
#include "sim/world.hpp"
#include "simulated.hpp"
#include "small_traffic.hpp"
#include "support/seed.hpp"

using namespace serve_trace;
using Rows = dpgather::Rows<float>;

namespace {

Figures serve(const Options& options, const Trace& trace, const Hooks& hooks = {}) {
  return options.comm == CommChoice::sim ? serve_sim(options, trace, hooks)
                                         : serve_sim_thread(options, trace, hooks);
}

Options simulated_options(CommChoice comm, ModeChoice mode, int attn_tp) {
  Options options = small_options();
  options.comm = comm;
  options.mode = mode;
  options.attn_tp = attn_tp;
  return options;
}

/// `test(options)` for each communicator, mode and A.
template <class Test>
void for_each_setting(const Test& test) {
  for (const CommChoice comm : {CommChoice::sim, CommChoice::sim_thread})
    for (const ModeChoice mode : modes_of(comm))
      for (const int attn_tp : {1, 2}) {
        const Options options = simulated_options(comm, mode, attn_tp);
        CAPTURE(name(comm));
        CAPTURE(name(mode));
        CAPTURE(attn_tp);
        test(options);
      }
}

/// A step in which every rank has two rows or more: eager because a rank prefills, or the replay of
/// a graph that an earlier step captured. The options end the run with it.
std::int64_t spoilt_step(Options& options, const Trace& trace, bool graph) {
  if (graph) options.serve = Serve::decode;
  Planner planner(options.layout(), options.hosts, policy_of(options), graph_sizes(options));
  std::set<dpgather::ShapeKey> captured;
  std::int64_t step = 0;
  for (const StepOfAll& all : replay_steps(options, trace, 300)) {
    const Launch launch = planner.launch(all.counts, all.forward);
    const bool replayed = launch.graph && !captured.insert(*launch.graph).second;
    const bool fits = graph ? replayed : launch.why_eager == dpgather::EagerReason::prefill;
    options.steps = step + 1;
    if (fits && step > 4 && all.fewest() >= 2) return step;
    ++step;
  }
  FAIL("no step to spoil");
  return -1;
}

}  // namespace

TEST_CASE("no row is wrong on simulated GPUs, and graphs replay what was planned") {
  std::uint64_t seed = support::seed("serve_trace sim", 500);
  for_each_setting([&](Options options) {
    for (const Serve kind : {Serve::mixed, Serve::decode}) {
      options.serve = kind;
      options.seed = ++seed;
      CAPTURE(name(kind));
      CAPTURE(options.seed);
      const Trace trace = small_trace(options.seed, 30);
      check_simulated(serve(options, trace), options, trace);
    }
  });
}

TEST_CASE("simulated ranks on several hosts serve rightly, with shapes tuned while serving") {
  const std::uint64_t seed = support::seed("serve_trace sim hosts", 41);
  const Trace trace = small_trace(seed, 300, 60);
  for (const ModeChoice mode : {ModeChoice::sum_len_hier, ModeChoice::auto_rule})
    for (const int hosts : {1, 2}) {
      Options options = simulated_options(CommChoice::sim_thread, mode, 1);
      options.serve = Serve::decode;
      options.ranks = 4;
      options.hosts = hosts;
      options.max_running = 64;
      options.retune = true;
      options.graphs = 12;
      CAPTURE(name(mode));
      CAPTURE(hosts);
      const Figures figures = serve(options, trace);
      CHECK(figures.graphs.retunings > 0);
      check_simulated(figures, options, trace);
    }
}

TEST_CASE("300 steps of synthetic traffic are served on simulated GPUs without a wrong row") {
  const std::uint64_t seed = support::seed("serve_trace sim 300", 7);
  const Trace trace = synthetic_trace({.seed = seed, .requests = 400});
  for (const ModeChoice mode : all_modes)
    for (const int attn_tp : {1, 2}) {
      Options options{.chunk = 128, .max_running = 32, .hidden = 24, .steps = 300};
      options.ranks = attn_tp == 1 ? 4 : 2;
      options.comm = CommChoice::sim;
      options.mode = mode;
      options.attn_tp = attn_tp;
      options.seed = seed;
      CAPTURE(name(mode));
      CAPTURE(attn_tp);
      const Figures figures = serve(options, trace);
      CHECK(figures.steps == 300);
      check_simulated(figures, options, trace);
    }
}

TEST_CASE("every schedule serves without a wrong row") {
  const std::uint64_t first = support::seed("serve_trace schedules", 900);
  const Trace trace = small_trace(31, 20, 40);
  for (const ScheduleChoice schedule :
       {ScheduleChoice::late, ScheduleChoice::random, ScheduleChoice::eager})
    for (std::uint64_t seed = first; seed < first + 4; ++seed) {
      Options options = simulated_options(CommChoice::sim, ModeChoice::auto_rule, 2);
      options.ranks = 2;
      options.schedule = schedule;
      options.seed = seed;
      CAPTURE(name(schedule));
      CAPTURE(seed);
      check_simulated(serve(options, trace), options, trace);
    }
}

TEST_CASE("a seed is one schedule, and another seed another") {
  Options options = simulated_options(CommChoice::sim, ModeChoice::max_len, 1);
  options.schedule = ScheduleChoice::random;
  options.steps = 20;
  const Trace trace = small_trace(8);
  const auto polls = [&](std::uint64_t seed) {
    options.seed = seed;
    return serve(options, trace).simulated->calls;
  };
  std::set<std::int64_t> seen;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    const std::int64_t calls = polls(seed);
    CHECK(polls(seed) == calls);
    seen.insert(calls);
  }
  CHECK(seen.size() > 1);
}

TEST_CASE("a row that is spoilt on a simulated GPU is found, in graphs and without") {
  const Trace trace = small_trace(21, 60, 60);
  for_each_setting([&](const Options& usual) {
    for (const bool graph : {false, true}) {
      if (graph && usual.mode == ModeChoice::sum_len_v) continue;  // runs in none
      Options options = usual;
      const std::int64_t spoilt = spoilt_step(options, trace, graph);
      CAPTURE(graph);
      CAPTURE(spoilt);
      // Rank 1 loses the second row that it sends, or that it gets; with A = 2 that rank shares its
      // DP rank's rows with rank 0, which sends a part of each row, or some of them.
      for (const Stage stage : {Stage::produced, Stage::returned}) {
        const int dp = 1, first = dp * options.attn_tp;
        const auto spoils = [&](int rank) {
          return stage == Stage::returned ? rank == first : rank / options.attn_tp == dp;
        };
        const Tamper tamper = [&](Stage at, int rank, std::int64_t step, Rows rows) {
          if (at == stage && step == spoilt && spoils(rank))
            for (std::int64_t j = 0; j < rows.width(); ++j) rows(1, j) += 1;
        };
        const Figures figures = serve(options, trace, {.tamper = tamper, .on_step = {}});
        CAPTURE(static_cast<int>(stage));
        CHECK(figures.wrong_rows == (stage == Stage::returned ? 1 : options.attn_tp));
        CHECK(figures.launched == figures.planned);
        CHECK_FALSE(figures.good());
      }
    }
  });
}

TEST_CASE("a rank that fails ends the simulated run with its own error") {
  const Hooks hooks{.tamper = {}, .on_step = [](std::int64_t steps, std::int64_t) {
                      if (steps == 6) throw std::runtime_error("rank 0 gave up");
                    }};
  for_each_setting([&](const Options& options) {
    CHECK_THROWS_WITH((void)serve(options, small_trace(4), hooks), "rank 0 gave up");
  });
}

TEST_CASE("the report of a simulated run says what was simulated, and names what was left behind") {
  Options options = simulated_options(CommChoice::sim, ModeChoice::auto_rule, 1);
  options.steps = 5;
  options.seed = 3;
  const Trace trace = small_trace(6);
  Figures figures = serve(options, trace);
  const auto says = [&](const std::string& text) {
    const std::string table = report(options, trace, figures);
    CAPTURE(table);
    CHECK(table.find(text) != std::string::npos);
  };
  says("late, seed 3: ");
  says("calls of CUDA and NCCL");
  says("nothing was left behind");
  CHECK(figures.good());
  REQUIRE(figures.simulated);
  figures.simulated->leaks = {"allocation of 64 bytes"};
  says("LEFT BEHIND: allocation of 64 bytes");
  CHECK_FALSE(figures.good());
}
