// What the check must catch: each test spoils one step in one way, and counts the rows found wrong.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/thread.hpp>

#include "serve.hpp"
#include "small_traffic.hpp"

using namespace serve_trace;
using Rows = dpgather::Rows<float>;

namespace {

/// One step of a small run, to be spoilt.
struct Target {
  Options options;
  Trace trace;
  std::int64_t step = -1;
  std::vector<std::int64_t> counts;

  /// Ranks in the world of DP rank `dp`.
  [[nodiscard]] bool is_of(int rank, int dp) const { return rank / options.attn_tp == dp; }
  [[nodiscard]] std::int64_t rows_of(std::size_t dp) const { return counts[dp] * options.attn_tp; }
  [[nodiscard]] std::int64_t rows() const { return dpgather::sum(counts) * options.attn_tp; }
  [[nodiscard]] Figures serve(const Tamper& tamper) const {
    return serve_threads(options, trace, {.tamper = tamper, .on_step = {}});
  }
};

/// The first step after some others in which every rank has two rows or more: eager (a rank
/// prefills) or in a graph.
Target target(ModeChoice mode, int attn_tp, bool graph) {
  Target found{.options = small_options(), .trace = small_trace(21, 60, 60), .counts = {}};
  found.options.mode = mode;
  found.options.attn_tp = attn_tp;
  if (graph) found.options.serve = Serve::decode;  // no step prefills
  const auto steps = replay_steps(found.options, found.trace, 300);
  for (std::size_t i = 4; i < steps.size() && found.step < 0; ++i) {
    const bool fits = steps[i].fewest() >= 2 && steps[i - 1].fewest() >= 2 &&
                      is_prefill(steps[i].forward) != graph &&
                      (!graph || dpgather::max(steps[i].counts) <= 8);
    if (!fits) continue;
    found.step = static_cast<std::int64_t>(i);
    found.counts = steps[i].counts;
  }
  REQUIRE(found.step >= 0);
  found.options.steps = found.step + 1;
  return found;
}

template <class Test>
void for_each_target(const Test& test) {
  for (const ModeChoice mode :
       {ModeChoice::max_len, ModeChoice::sum_len, ModeChoice::sum_len_v, ModeChoice::auto_rule})
    for (const int attn_tp : {1, 2})
      for (const bool graph : {false, true}) {
        CAPTURE(name(mode));
        CAPTURE(attn_tp);
        CAPTURE(graph);
        const Target spoilt = target(mode, attn_tp, graph);
        CAPTURE(spoilt.step);
        test(spoilt);
      }
}

void swap_rows(Rows rows, std::int64_t a, std::int64_t b) {
  std::swap_ranges(rows.row(a), rows.row(a) + rows.width(), rows.row(b));
}
void clear(Rows rows) {
  for (std::int64_t i = 0; i < rows.rows(); ++i) std::fill_n(rows.row(i), rows.width(), 0.0f);
}

}  // namespace

TEST_CASE("hooks that spoil nothing leave no row wrong") {
  for_each_target([](const Target& at) {
    std::atomic<int> calls{0};
    const Figures figures =
        at.serve([&](Stage, int, std::int64_t step, Rows) { calls += step == at.step; });
    CHECK(figures.wrong_rows == 0);
    CHECK(calls == 4 * at.options.layout().world());
  });
}

TEST_CASE("two rows of one rank that are swapped on the way out are both wrong") {
  for_each_target([](const Target& at) {
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage == Stage::produced && step == at.step && at.is_of(rank, 1)) swap_rows(rows, 0, 1);
    });
    CHECK(figures.wrong_rows == 2 * at.options.attn_tp);
  });
}

TEST_CASE("two rows that are swapped on the way back are both wrong") {
  for_each_target([](const Target& at) {
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage == Stage::returned && step == at.step && rank == 0) swap_rows(rows, 0, 1);
    });
    CHECK(figures.wrong_rows == 2);
  });
}

TEST_CASE("rows of two ranks that are swapped in the global buffer are both wrong") {
  for_each_target([](const Target& at) {
    const Figures figures = at.serve([&](Stage stage, int, std::int64_t step, Rows rows) {
      // The first row of the buffer is rank 0's; the second rank's rows begin where a row differs
      // from rank 0's in the digits that spell the rank (see identity.hpp), columns 7 to 10.
      if (stage != Stage::gathered || step != at.step) return;
      for (std::int64_t i = 1; i < rows.rows(); ++i)
        if (rows(i, 7) != rows(0, 7) || rows(i, 8) != rows(0, 8)) return swap_rows(rows, 0, i);
    });
    CHECK(figures.wrong_rows == 2 * at.options.attn_tp);
  });
}

TEST_CASE("a rank whose rows do not arrive has all its rows wrong") {
  for_each_target([](const Target& at) {
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage == Stage::produced && step == at.step && at.is_of(rank, 2)) clear(rows);
    });
    CHECK(figures.wrong_rows == at.rows_of(2));
  });
}

TEST_CASE("a rank whose partial sums are dropped spoils nearly all rows of all ranks") {
  for_each_target([](const Target& at) {
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage == Stage::computed && step == at.step && rank == 1) clear(rows);
    });
    // A shard of 8 or 16 inner columns may add nothing to a row.
    CHECK(figures.wrong_rows > at.rows() * 8 / 10);
    CHECK(figures.wrong_rows <= at.rows());
  });
}

TEST_CASE("a row that was reduced before the reduce-scatter is wrong") {
  for_each_target([](const Target& at) {
    // The FFN reduces the first row itself, and the loop adds it over all ranks once more.
    const int world = at.options.layout().world();
    const auto hub = std::make_shared<dpgather::ThreadHub>(world);
    std::vector<std::unique_ptr<dpgather::ThreadComm<>>> comms;
    for (int rank = 0; rank < world; ++rank)
      comms.push_back(std::make_unique<dpgather::ThreadComm<>>(hub, rank));
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage != Stage::computed || step != at.step) return;
      comms[static_cast<std::size_t>(rank)]->all_reduce(rows.row(0), rows.row(0), rows.width(),
                                                        dpgather::HostStream{});
    });
    CHECK(figures.wrong_rows == at.options.attn_tp);
  });
}

TEST_CASE("a rank that sends the rows of the step before has all its rows wrong") {
  for_each_target([](const Target& at) {
    std::vector<std::vector<float>> before(static_cast<std::size_t>(at.options.layout().world()));
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage != Stage::produced || !at.is_of(rank, 0)) return;
      auto& kept = before[static_cast<std::size_t>(rank)];
      if (step == at.step) {
        const auto size = std::min(kept.size(), static_cast<std::size_t>(rows.size()));
        std::copy_n(kept.begin(), size, rows.data());
        // Fewer rows before than now: the rest is missing.
        std::fill(rows.data() + size, rows.data() + rows.size(), 0.0f);
      }
      kept.assign(rows.data(), rows.data() + rows.size());
    });
    CHECK(figures.wrong_rows == at.rows_of(0));
  });
}

TEST_CASE("a rank that returns the output of the step before has all its rows wrong") {
  for_each_target([](const Target& at) {
    std::vector<float> before;
    const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
      if (stage != Stage::returned || rank != 0) return;
      if (step == at.step) {
        const auto size = std::min(before.size(), static_cast<std::size_t>(rows.size()));
        std::copy_n(before.begin(), size, rows.data());
        std::fill(rows.data() + size, rows.data() + rows.size(), 0.0f);
      }
      before.assign(rows.data(), rows.data() + rows.size());
    });
    CHECK(figures.wrong_rows == at.counts[0]);
  });
}

TEST_CASE("one bit of one value is enough to make a row wrong") {
  const Target at = target(ModeChoice::auto_rule, 1, true);
  const Figures figures = at.serve([&](Stage stage, int rank, std::int64_t step, Rows rows) {
    if (stage != Stage::returned || step != at.step || rank != 1) return;
    std::uint32_t bits = 0;
    std::memcpy(&bits, rows.row(1) + 5, sizeof(bits));
    bits ^= 1u;
    std::memcpy(rows.row(1) + 5, &bits, sizeof(bits));
  });
  CHECK(figures.wrong_rows == 1);
}
