// What the whole-path tests draw at random: set-ups, and the steps of one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <dpgather/exchange/context.hpp>
#include <dpgather/plan/forward.hpp>
#include <dpgather/plan/layout.hpp>

namespace test {

using namespace dpgather;

/// Everything about one set-up that is drawn at random.
struct SetUp {
  DpLayout layout;
  std::int64_t hidden = 1;
  std::int64_t max_requests = 1;
  Input input = Input::replicate;
  bool in_slot = false;      // the producer writes into the slot
  bool strided = false;      // caller's rows have a stride
  bool partial_sums = true;  // way back: reduce_scatter, else slice_local
  bool own_partial = true;   // the FFN writes into partial_slot
  bool graphs = false;
  std::uint64_t seed = 0;
  int steps = 6;
  std::int64_t spare_rows = 256;  // of each buffer, beyond what widths need

  static SetUp draw(std::mt19937_64& random) {
    const auto pick = [&](std::int64_t low, std::int64_t high) {
      return std::uniform_int_distribution<std::int64_t>(low, high)(random);
    };
    SetUp s;
    constexpr std::array<std::array<int, 2>, 10> layouts = {
        {{1, 1}, {1, 2}, {1, 3}, {2, 1}, {2, 2}, {3, 1}, {3, 2}, {4, 1}, {8, 1}, {2, 3}}};
    const auto [dp, attn_tp] = layouts[static_cast<std::size_t>(pick(0, 9))];
    s.layout = {.dp = dp, .attn_tp = attn_tp};
    s.hidden = pick(1, 9);
    s.max_requests = pick(1, 40);
    s.input = pick(0, 1) ? Input::partial : Input::replicate;
    s.in_slot = pick(0, 1) != 0;
    s.strided = pick(0, 2) == 0;
    s.partial_sums = pick(0, 3) != 0;
    s.own_partial = pick(0, 3) != 0;
    s.graphs = pick(0, 1) != 0;
    s.seed = random();
    return s;
  }
  /// A divisor of dp; set-ups take them in turn.
  [[nodiscard]] int hosts() const {
    std::vector<int> divisors;
    for (int n = layout.dp; n >= 1; --n)
      if (layout.dp % n == 0) divisors.push_back(n);
    return divisors[static_cast<std::size_t>(hidden + max_requests) % divisors.size()];
  }
  [[nodiscard]] std::string text() const {
    return concat("dp ", layout.dp, " attn_tp ", layout.attn_tp, " hosts ", hosts(), " hidden ",
                  hidden, " requests ", max_requests,
                  input == Input::partial ? " partial" : " replicate", in_slot ? " slot" : "",
                  strided ? " strided" : "", partial_sums ? " reduce_scatter" : " slice_local",
                  own_partial ? " partial_slot" : "", graphs ? " graphs" : "", " seed ", seed);
  }
};

/// What one step has, the same on every rank without talking: counts per DP rank and the forward
/// mode.
struct StepDraw {
  Forward forward = Forward::decode;
  int width = 1;
  std::vector<std::int64_t> requests;

  StepDraw(const SetUp& s, int step) {
    std::mt19937_64 random(s.seed * 1000003 + static_cast<std::uint64_t>(step));
    constexpr std::array forwards = {Forward::decode,        Forward::extend,
                                     Forward::mixed,         Forward::draft_decode,
                                     Forward::target_verify, Forward::draft_extend};
    // Graph set-ups keep to decode most of the time, so that captured shapes are met again.
    forward =
        s.graphs && random() % 4 != 0 ? Forward::decode : forwards[random() % forwards.size()];
    width =
        forward == Forward::decode || is_prefill(forward) ? 1 : static_cast<int>(1 + random() % 4);
    requests.resize(static_cast<std::size_t>(s.layout.dp));
    const auto most = static_cast<std::uint64_t>(s.max_requests);
    const auto kind = random() % 6;
    for (std::size_t d = 0; d < requests.size(); ++d) {
      std::uint64_t n = random() % (most + 1);                      // anything
      if (kind == 0) n = 0;                                         // nobody has rows
      if (kind == 1) n = most;                                      // a tie
      if (kind == 2) n = d == s.seed % requests.size() ? most : 0;  // one rank has all
      if (kind == 3) n = d == 0 ? most : 1;                         // a huge skew
      if (kind == 4 && random() % 2) n = 0;                         // some idle
      requests[d] = static_cast<std::int64_t>(n);
    }
  }
  [[nodiscard]] std::int64_t rows(std::size_t d) const { return requests[d] * width; }
};

}  // namespace test
