#include <cstdint>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/plan/rule.hpp>

#include "support/seed.hpp"

using dpgather::LenMode;
using dpgather::StepLoad;
using dpgather::VolumeRule;

namespace {

LenMode choose(const VolumeRule& rule, const std::vector<std::int64_t>& counts, bool prefill) {
  return rule.choose(StepLoad{counts, prefill});
}

}  // namespace

TEST_CASE("prefill: #8280 goes by volume, #10414 always sums, #20406 sums above one rank") {
  const std::vector<std::int64_t> even{8, 8, 8, 8};  // by volume MAX_LEN
  const std::vector<std::int64_t> alone{8};          // by volume MAX_LEN: 8 rows against 16
  CHECK(choose(VolumeRule::sglang_8280(), even, true) == LenMode::max_len);
  CHECK(choose(VolumeRule::sglang_10414(), even, true) == LenMode::sum_len);
  CHECK(choose(VolumeRule::sglang_20406(), even, true) == LenMode::sum_len);
  CHECK(choose(VolumeRule::sglang_8280(), alone, true) == LenMode::max_len);
  CHECK(choose(VolumeRule::sglang_10414(), alone, true) == LenMode::sum_len);
  CHECK(choose(VolumeRule::sglang_20406(), alone, true) == LenMode::max_len);
}

TEST_CASE("without prefill #10414 is #8280, and ties alone tell #20406 apart") {
  support::Random random(support::seed("volume rule", 8280));
  int ties = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(random.between(1, 9)));
    for (auto& count : counts) count = random.chance(30) ? 0 : random.between(0, 6);
    double sum = 0;
    double longest = 0;
    for (const auto count : counts) {
      sum += static_cast<double>(count);
      if (static_cast<double>(count) > longest) longest = static_cast<double>(count);
    }
    const double gathered = longest * static_cast<double>(counts.size());
    const LenMode first = choose(VolumeRule::sglang_8280(), counts, false);
    const LenMode last = choose(VolumeRule::sglang_20406(), counts, false);
    REQUIRE(choose(VolumeRule::sglang_10414(), counts, false) == first);
    REQUIRE(choose(VolumeRule::sglang_8280(), counts, true) == first);
    if (2 * sum == gathered) {
      ++ties;
      REQUIRE(first == LenMode::sum_len);
      REQUIRE(last == LenMode::max_len);
    } else {
      const LenMode cheaper = gathered < 2 * sum ? LenMode::max_len : LenMode::sum_len;
      REQUIRE(first == cheaper);
      REQUIRE(last == cheaper);
    }
  }
  CHECK(ties > 100);
}

TEST_CASE("volumes of counts at the limit do not overflow") {
  std::vector<std::int64_t> counts(1 << 20, dpgather::max_rows);
  CHECK(choose(VolumeRule{}, counts, false) == LenMode::max_len);
  counts.assign(counts.size(), 0);
  counts[5] = dpgather::max_rows;
  CHECK(choose(VolumeRule{}, counts, false) == LenMode::sum_len);
}

TEST_CASE("a fixed rule ignores the counts") {
  const std::vector<std::int64_t> skewed{512, 0, 0, 0};
  CHECK(dpgather::Fixed<LenMode::max_len>{}.choose({skewed, true}) == LenMode::max_len);
  CHECK(dpgather::Fixed<LenMode::sum_len>{}.choose({skewed, false}) == LenMode::sum_len);
}

TEST_CASE("rules that decide differently have different fingerprints") {
  std::set<std::uint64_t> seen;
  for (const LenMode tie : {LenMode::max_len, LenMode::sum_len})
    for (const auto prefill : {VolumeRule::Prefill::by_volume, VolumeRule::Prefill::sum_len,
                               VolumeRule::Prefill::sum_len_if_many})
      seen.insert(VolumeRule{tie, prefill}.fingerprint());
  seen.insert(dpgather::Fixed<LenMode::max_len>{}.fingerprint());
  seen.insert(dpgather::Fixed<LenMode::sum_len>{}.fingerprint());
  CHECK(seen.size() == 8);
  CHECK(VolumeRule{}.fingerprint() == VolumeRule::sglang_8280().fingerprint());
}
