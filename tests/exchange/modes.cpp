#include <vector>

#include <doctest/doctest.h>

#include <dpgather/exchange/auto_mode.hpp>
#include <dpgather/exchange/modes.hpp>

using namespace dpgather;

namespace {
const std::vector<std::int64_t> balanced{8, 8, 8, 8}, skewed{8, 1, 0, 0}, nearly{8, 8, 8, 7};
constexpr Allowed eager{}, captured{.captured = true};
constexpr Allowed peers{.peers = true}, captured_peers{.captured = true, .peers = true};
}  // namespace

TEST_CASE("a fixed mode takes its transport whatever the load, if a graph may hold it") {
  for (const auto& counts : {balanced, skewed}) {
    const StepLoad load{counts};
    for (const Allowed& allowed : {eager, captured, peers, captured_peers}) {
      CHECK(MaxLen{}.choose(load, allowed).transport == Transport::max_len);
      CHECK(SumLen<AllReduce>{}.choose(load, allowed).transport == Transport::sum_len_all_reduce);
      CHECK(SumLen<PeerStore>{}.choose(load, allowed).transport == Transport::sum_len_peer_store);
      CHECK(SumLen<AllGatherV>{}.choose(load, allowed).transport.has_value() == !allowed.captured);
      CHECK(SumLen<AllGatherV>{}.choose(load, allowed).reason == ChoiceReason::fixed_mode);
    }
  }
}

TEST_CASE("auto asks its rule, and takes a graph-safe transport in a captured step") {
  const Auto<> mode;
  const Choice max_len{Transport::max_len, ChoiceReason::rule_max_len};
  const Choice by_v{Transport::sum_len_all_gather_v, ChoiceReason::rule_sum_len};
  CHECK(mode.choose({balanced}, eager) == max_len);
  CHECK(mode.choose({balanced}, captured) == max_len);
  CHECK(mode.choose({skewed}, eager) == by_v);
  CHECK(mode.choose({skewed}, captured) ==
        Choice{Transport::sum_len_all_reduce, ChoiceReason::captured_needs_graph_safe});
  CHECK(Auto<Fixed<LenMode::sum_len>>{}.choose({balanced}, eager) == by_v);
  CHECK(Auto<>{VolumeRule::sglang_10414()}.choose({balanced, true}, eager) == by_v);
  const Choice by_all_reduce{Transport::sum_len_all_reduce, ChoiceReason::rule_sum_len};
  CHECK(Auto<VolumeRule, AllReduce>{}.choose({skewed}, eager) == by_all_reduce);
  CHECK(Auto<VolumeRule, AllReduce>{}.choose({skewed}, captured) == by_all_reduce);
}

TEST_CASE("auto stores into peers' buffers where they are in reach, unless no row is padded") {
  const Auto<> mode;
  const Choice stores{Transport::sum_len_peer_store, ChoiceReason::only_rows_that_exist};
  CHECK(mode.choose({skewed}, peers) == stores);
  CHECK(mode.choose({skewed}, captured_peers) == stores);
  CHECK(mode.choose({nearly}, peers) == stores);
  CHECK(mode.choose({balanced}, captured_peers) == stores);
  CHECK(mode.choose({balanced}, peers) == Choice{Transport::max_len, ChoiceReason::no_padding});
  CHECK(Auto<Fixed<LenMode::sum_len>>{}.choose({balanced}, peers) == stores);
  const std::vector<std::int64_t> alone{5}, nobody{0, 0};
  CHECK(mode.choose({alone}, peers).reason == ChoiceReason::no_padding);
  CHECK(mode.choose({nobody}, peers) == stores);  // a tie, which the rule calls SUM_LEN
}

TEST_CASE("auto that is kept from peers' buffers chooses as if they were out of reach") {
  const Auto<> kept{.peer_stores = false}, mode;
  for (const auto& counts : {balanced, skewed, nearly}) {
    CHECK(kept.choose({counts}, peers) == mode.choose({counts}, eager));
    CHECK(kept.choose({counts}, captured_peers) == mode.choose({counts}, captured));
  }
}

TEST_CASE("modes that choose differently have different fingerprints") {
  const std::vector<std::uint64_t> prints = {MaxLen{}.fingerprint(),
                                             SumLen<AllReduce>{}.fingerprint(),
                                             SumLen<AllGatherV>{}.fingerprint(),
                                             SumLen<PeerStore>{}.fingerprint(),
                                             Auto<>{}.fingerprint(),
                                             Auto<>{.peer_stores = false}.fingerprint(),
                                             Auto<VolumeRule, AllReduce>{}.fingerprint(),
                                             Auto<>{VolumeRule::sglang_20406()}.fingerprint()};
  for (std::size_t a = 0; a < prints.size(); ++a)
    for (std::size_t b = a + 1; b < prints.size(); ++b) CHECK(prints[a] != prints[b]);
}

TEST_CASE("each reason has a name of its own, and counts are by reason") {
  ChoiceCounts counts;
  for (std::size_t i = 0; i < choice_reasons; ++i) {
    const auto reason = static_cast<ChoiceReason>(i);
    CHECK(!name(reason).empty());
    for (std::size_t other = 0; other < i; ++other)
      CHECK(name(static_cast<ChoiceReason>(other)) != name(reason));
    for (std::size_t times = 0; times <= i; ++times) counts.add(reason);
    CHECK(counts[reason] == i + 1);
  }
  CHECK(counts.total() == choice_reasons * (choice_reasons + 1) / 2);
}
