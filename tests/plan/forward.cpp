#include <array>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include <dpgather/plan/forward.hpp>

using dpgather::combine;
using dpgather::compatible;
using dpgather::Forward;

namespace {

constexpr std::array all{Forward::idle,        Forward::decode,       Forward::extend,
                         Forward::mixed,       Forward::draft_decode, Forward::target_verify,
                         Forward::draft_extend};
static_assert(all.size() == dpgather::forward_count);

}  // namespace

TEST_CASE("every forward mode has a name of its own") {
  std::set<std::string> names;
  for (const Forward forward : all) names.emplace(dpgather::name(forward));
  CHECK(names.size() == all.size());
  CHECK(dpgather::name(Forward::idle) == "idle");
  CHECK(dpgather::name(Forward::draft_extend) == "draft_extend");
}

TEST_CASE("only extend and mixed prefill, and only they have no fixed width") {
  for (const Forward forward : all) {
    const bool prefill = forward == Forward::extend || forward == Forward::mixed;
    CHECK(dpgather::is_prefill(forward) == prefill);
    CHECK(dpgather::has_fixed_width(forward) != prefill);
  }
}

TEST_CASE("an idle rank joins any step and does not change its mode") {
  for (const Forward forward : all) {
    CHECK(compatible(forward, Forward::idle));
    CHECK(compatible(Forward::idle, forward));
    CHECK(combine(forward, Forward::idle) == forward);
    CHECK(combine(Forward::idle, forward) == forward);
  }
}

TEST_CASE("decode and prefill ranks make a mixed step; speculative modes mix with none") {
  const std::set<Forward> serving{Forward::decode, Forward::extend, Forward::mixed};
  for (const Forward a : all) {
    for (const Forward b : all) {
      if (a == Forward::idle || b == Forward::idle) continue;
      CHECK(compatible(a, b) == (a == b || (serving.contains(a) && serving.contains(b))));
      if (a != b && compatible(a, b)) CHECK(combine(a, b) == Forward::mixed);
      if (a == b) CHECK(combine(a, b) == a);
    }
  }
}

TEST_CASE("the mode of a step does not depend on the order of ranks") {
  for (const Forward a : all) {
    for (const Forward b : all) {
      if (!compatible(a, b)) continue;
      CHECK(combine(a, b) == combine(b, a));
      for (const Forward c : all)
        if (compatible(a, c) && compatible(b, c))
          CHECK(combine(combine(a, b), c) == combine(a, combine(b, c)));
    }
  }
}
