// The first 300 steps of the conversation trace on simulated GPUs.
#include <doctest/doctest.h>

#include "conversation.hpp"
#include "serve.hpp"
#include "simulated.hpp"

using namespace serve_trace;

TEST_CASE("the first 300 steps of the trace are served on simulated GPUs without a wrong row") {
  for (const ModeChoice mode : all_modes)
    for (const int attn_tp : {1, 2}) {
      Options options{.hidden = 24, .steps = 300, .comm = CommChoice::sim};
      options.ranks = attn_tp == 1 ? 8 : 4;
      options.attn_tp = attn_tp;
      options.mode = mode;
      CAPTURE(name(mode));
      CAPTURE(attn_tp);
      const Figures figures = serve_sim(options, conversation());
      CHECK(figures.steps == 300);
      check_simulated(figures, options, conversation());
    }
}

TEST_CASE("its decode instance replays graphs on simulated GPUs without a wrong row") {
  for (const ModeChoice mode : {ModeChoice::max_len, ModeChoice::sum_len, ModeChoice::auto_rule}) {
    Options options{.serve = Serve::decode, .mode = mode, .hidden = 24, .steps = 300};
    options.comm = CommChoice::sim;
    options.ranks = 4;
    CAPTURE(name(mode));
    const Figures figures = serve_sim(options, conversation());
    CHECK(figures.graphs.replays > 200);
    check_simulated(figures, options, conversation());
  }
}
