// The figures that anybody can recompute from the published conversation trace.
#include <doctest/doctest.h>

#include "conversation.hpp"
#include "dry_run.hpp"
#include "serve.hpp"

using namespace serve_trace;

namespace {

double ratio(std::int64_t rows, std::int64_t exist) {
  return static_cast<double>(rows) / static_cast<double>(exist);
}

}  // namespace

TEST_CASE("the defaults serve the conversation trace in the steps and rows that are known") {
  const Figures figures = dry_run({}, conversation());
  CHECK(figures.requests == 19366);
  CHECK(figures.steps == 18255);
  CHECK(figures.live_steps == 17509);
  CHECK(figures.decode_only_steps == 5757);
  CHECK(figures.idle_steps == 0);
  CHECK(figures.rows == 26431169);
  CHECK(figures.max_len_steps == 5594);
  CHECK(figures.sum_len_steps == 12661);
  CHECK(figures.sglang_unpadded.moved_out == 51785608);
  CHECK(ratio(figures.sglang.moved_out, figures.rows) == doctest::Approx(1.96).epsilon(0.003));
}

TEST_CASE("a decode instance serves it in the rows and modes that are known") {
  const Figures figures = dry_run({.serve = Serve::decode}, conversation());
  CHECK(figures.steps == 18255);
  CHECK(figures.rows == 4088665);
  CHECK(figures.max_len_steps == 17855);
  CHECK(figures.sum_len_steps == 400);
  CHECK(ratio(figures.sglang.decode_computed, figures.decode_rows) ==
        doctest::Approx(1.28).epsilon(0.003));
}

TEST_CASE("32 ranks waste what is known of them") {
  Options options{.ranks = 32, .speedup = 32};
  const Figures mixed = dry_run(options, conversation());
  CHECK(ratio(mixed.sglang.moved_out, mixed.rows) == doctest::Approx(2.0).epsilon(0.003));
  options.serve = Serve::decode;
  const Figures decode = dry_run(options, conversation());
  CHECK(ratio(decode.sglang.computed, decode.rows) == doctest::Approx(1.37).epsilon(0.003));
}

TEST_CASE("under graphs, shapes that follow the traffic compute few pads within their limits") {
  for (const int ranks : {8, 32}) {
    Options options{.serve = Serve::decode, .ranks = ranks, .speedup = ranks};
    options.retune = true;
    const Figures figures = dry_run(options, conversation());
    CAPTURE(ranks);
    CHECK(ratio(figures.launched.decode_computed, figures.decode_rows) <= 1.04);
    CHECK(ratio(figures.launched.decode_attention, figures.decode_rows) <= 1.40);
    CHECK(figures.graphs.most_keys <= 36);
    CHECK(figures.graphs.captures <= 3 * 36);
    CHECK(figures.launched.moved_out == figures.rows);
    CHECK(ratio(figures.sglang.computed, figures.rows) ==
          doctest::Approx(ranks == 8 ? 1.28 : 1.37).epsilon(0.003));
  }
}

TEST_CASE("a mixed instance moves out hardly more than the rows that exist, on 1 and on 4 hosts") {
  for (const int hosts : {1, 4})
    for (const int ranks : {8, 32}) {
      const Figures figures =
          dry_run({.ranks = ranks, .speedup = ranks, .hosts = hosts}, conversation());
      CAPTURE(hosts);
      CAPTURE(ranks);
      CHECK(ratio(figures.launched.moved_out, figures.rows) <= 1.02);
    }
}

TEST_CASE("sum_len_v moves each row of the trace once") {
  const Figures figures = dry_run({.mode = ModeChoice::sum_len_v}, conversation());
  CHECK(figures.launched.moved_out == 26431169);
}

TEST_CASE("the first steps of the trace are served without a wrong row") {
  Options options{.hidden = 24, .steps = 150};
  const Figures figures = serve_threads(options, conversation());
  CHECK(figures.steps == 150);
  CHECK(figures.wrong_rows == 0);
  CHECK(figures.checked_rows == figures.rows);
  CHECK(figures.good());
}
