#include <vector>

#include <doctest/doctest.h>

#include <dpgather/exchange/modes.hpp>

using namespace dpgather;

namespace {
const std::vector<std::int64_t> balanced{8, 8, 8, 8}, skewed{8, 1, 0, 0};
}

TEST_CASE("a fixed mode takes its transport whatever the load, if a graph may hold it") {
  for (const auto& counts : {balanced, skewed}) {
    CHECK(MaxLen{}.choose({counts}, false) == Transport::max_len);
    CHECK(MaxLen{}.choose({counts}, true) == Transport::max_len);
    CHECK(SumLen<AllReduce>{}.choose({counts}, false) == Transport::sum_len_all_reduce);
    CHECK(SumLen<AllReduce>{}.choose({counts}, true) == Transport::sum_len_all_reduce);
    CHECK(SumLen<AllGatherV>{}.choose({counts}, false) == Transport::sum_len_all_gather_v);
    CHECK(!SumLen<AllGatherV>{}.choose({counts}, true));
    CHECK(SumLen<PeerStore>{}.choose({counts}, false) == Transport::sum_len_peer_store);
    CHECK(SumLen<PeerStore>{}.choose({counts}, true) == Transport::sum_len_peer_store);
  }
}

TEST_CASE("auto asks its rule, and takes a graph-safe transport in a captured step") {
  const Auto<> mode;
  CHECK(mode.choose({balanced}, false) == Transport::max_len);
  CHECK(mode.choose({balanced}, true) == Transport::max_len);
  CHECK(mode.choose({skewed}, false) == Transport::sum_len_all_gather_v);
  CHECK(mode.choose({skewed}, true) == Transport::sum_len_all_reduce);
  CHECK(Auto<VolumeRule, AllReduce>{}.choose({skewed}, false) == Transport::sum_len_all_reduce);
  CHECK(Auto<Fixed<LenMode::sum_len>>{}.choose({balanced}, false) ==
        Transport::sum_len_all_gather_v);
  CHECK(Auto<>{VolumeRule::sglang_10414()}.choose({balanced, true}, false) ==
        Transport::sum_len_all_gather_v);
}

TEST_CASE("modes that choose differently have different fingerprints") {
  const std::vector<std::uint64_t> prints = {MaxLen{}.fingerprint(),
                                             SumLen<AllReduce>{}.fingerprint(),
                                             SumLen<AllGatherV>{}.fingerprint(),
                                             SumLen<PeerStore>{}.fingerprint(),
                                             Auto<>{}.fingerprint(),
                                             Auto<VolumeRule, AllReduce>{}.fingerprint(),
                                             Auto<>{VolumeRule::sglang_20406()}.fingerprint()};
  for (std::size_t a = 0; a < prints.size(); ++a)
    for (std::size_t b = a + 1; b < prints.size(); ++b) CHECK(prints[a] != prints[b]);
}
