#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/agree/judge.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

/// What a step is by its definition, rank after rank; nothing if ranks cannot share it.
struct Merged {
  std::vector<std::int64_t> tokens;
  bool prefill = false, busy = false, mixed = false, can_graph = true;
  Forward forward = Forward::idle;
  std::int32_t width = 1;
};

std::optional<Merged> merged(const std::vector<Phase>& phases) {
  Merged all;
  std::vector<std::int32_t> widths;
  std::vector<Forward> modes;
  for (const Phase& phase : phases) {
    all.tokens.push_back(phase.tokens);
    all.can_graph = all.can_graph && phase.can_graph;
    if (phase.forward == Forward::idle) continue;
    const bool prefills = phase.forward == Forward::extend || phase.forward == Forward::mixed;
    all.prefill = all.prefill || prefills;
    modes.push_back(phase.forward);
    if (!prefills) widths.push_back(phase.width);
  }
  for (const std::int32_t width : widths)
    if (width != widths.front()) return std::nullopt;
  for (const Forward mode : modes)
    if (mode != modes.front()) all.mixed = true;
  if (all.mixed)
    for (const Forward mode : modes)
      if (mode != Forward::decode && mode != Forward::extend && mode != Forward::mixed)
        return std::nullopt;
  if (!modes.empty()) all.forward = all.mixed ? Forward::mixed : modes.front();
  if (!widths.empty() && !all.prefill) all.width = widths.front();
  all.can_graph = all.can_graph && !all.prefill;
  return all;
}

}  // namespace

TEST_CASE("a step is judged as its definition says, whether or not ranks are alike") {
  support::Random random(support::seed("judge", 60221));
  int agreed = 0, refused = 0, alike = 0;
  for (int round = 0; round < 4000; ++round) {
    const int ranks = static_cast<int>(1 + random.bits() % 9);
    const bool same = random.bits() % 2 == 0;  // half of the steps have one mode and one width
    const auto usual = static_cast<Forward>(random.between(0, forward_count - 1));
    std::vector<detail::StepRecord> records(static_cast<std::size_t>(ranks));
    std::vector<Phase> phases;
    for (int rank = 0; rank < ranks; ++rank) {
      auto& record = records[static_cast<std::size_t>(rank)];
      record.rank = rank;
      record.phases = 1;
      Phase& phase = record.phase[0];
      phase.forward = same ? usual : static_cast<Forward>(random.between(0, forward_count - 1));
      if (random.bits() % 4 == 0) phase.forward = Forward::idle;
      phase.width = same ? 2 : static_cast<std::int32_t>(1 + random.bits() % 2);
      phase.can_graph = random.bits() % 8 != 0;
      if (phase.forward != Forward::idle)
        phase.tokens = static_cast<std::int64_t>(random.bits() % 100);
      record.user[5] = static_cast<std::byte>(random.bits() % 256);
      phases.push_back(phase);
    }
    const DpLayout layout{.dp = ranks};
    detail::AgreedStep step;
    detail::reserve(step, layout);
    const auto expected = merged(phases);
    const int own = static_cast<int>(random.bits() % static_cast<std::uint64_t>(ranks));
    CAPTURE(round);
    if (!expected) {
      ++refused;
      REQUIRE_THROWS_AS(detail::judge(records, layout, own, 0, step), DivergenceError);
      continue;
    }
    ++agreed;
    alike += same;
    detail::judge(records, layout, own, 0, step);
    REQUIRE(step.phase[0].tokens == expected->tokens);
    REQUIRE(step.phase[0].forward == expected->forward);
    REQUIRE(step.phase[0].width == expected->width);
    REQUIRE(step.phase[0].can_graph == expected->can_graph);
    REQUIRE(step.own_forward[0] == phases[static_cast<std::size_t>(own)].forward);
    for (std::size_t rank = 0; rank < records.size(); ++rank)
      REQUIRE(step.user[rank] == records[rank].user);
  }
  CHECK(refused > 500);
  CHECK(alike > 500);
  CHECK(agreed - alike > 200);
}

TEST_CASE("any rank that is not aligned is found, wherever it is") {
  const DpLayout layout{.dp = 7};
  for (std::size_t odd = 0; odd < 7; ++odd) {
    const auto judged = [&](const auto& change) {
      std::vector<detail::StepRecord> records(7);
      for (std::size_t rank = 0; rank < 7; ++rank) {
        records[rank].rank = static_cast<std::int32_t>(rank);
        records[rank].phases = 1;
      }
      change(records[odd]);
      detail::AgreedStep step;
      detail::reserve(step, layout);
      detail::judge(records, layout, 0, 0, step);
    };
    CAPTURE(odd);
    CHECK_NOTHROW(judged([](auto&) {}));
    CHECK_THROWS_WITH_AS(judged([](auto& record) { record.step = std::int64_t{1} << 40; }),
                         doctest::Contains("step differs"), DivergenceError);
    CHECK_THROWS_WITH_AS(judged([](auto& record) { record.policy = std::uint64_t{1} << 63; }),
                         doctest::Contains("policy fingerprint differs"), DivergenceError);
    CHECK_THROWS_WITH_AS(judged([](auto& record) { record.state = 1; }),
                         doctest::Contains("state of the graph cache differs"), DivergenceError);
    CHECK_THROWS_WITH_AS(judged([](auto& record) { record.phases = 2; }),
                         doctest::Contains("number of phases differs"), DivergenceError);
    CHECK_THROWS_WITH_AS(judged([](auto& record) { record.phases = detail::confirmation; }),
                         doctest::Contains("ends a capture"), DivergenceError);
    CHECK_THROWS_WITH_AS(judged([](auto& record) { record.failed = 1, record.set_message("out"); }),
                         doctest::Contains("failed: out"), PeerError);
  }
}
