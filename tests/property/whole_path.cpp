#include "property/whole_path.hpp"

#include <doctest/doctest.h>

#include <dpgather/dpgather.hpp>

#include "support/seed.hpp"

namespace {

using namespace test;

template <class Mode, class T>
void whole_path(const SetUp& set_up, Mode mode = {}) {
  on_ranks(set_up.layout, [&](Rank& rank) {
    WholePath<Mode, T, ThreadComm<>, HostGraphs>(rank, set_up, mode).run();
  });
}

void named_mode(const SetUp& set_up, std::uint64_t choice) {
  switch (choice % 6) {
    case 0:
      return whole_path<MaxLen, float>(set_up);
    case 1:
      return whole_path<SumLen<AllReduce>, float>(set_up);
    case 2:
      return whole_path<SumLen<AllGatherV>, float>(set_up);
    case 3:
      return whole_path<Auto<VolumeRule>, float>(set_up);
    case 4:
      return whole_path<SumLen<PeerStore>, float>(set_up);
    default:
      return whole_path<Auto<VolumeRule>, float>(set_up, {VolumeRule::sglang_20406(), false});
  }
}

void any_type(const SetUp& set_up, std::uint64_t mode, std::uint64_t type) {
  const AnyMode any{any_transport<ThreadComm<>>(mode)};
  switch (type % 6) {
    case 0:
      return named_mode(set_up, mode);
    case 1:
      return whole_path<AnyMode, double>(set_up, any);
    case 2:
      return whole_path<AnyMode, bf16>(set_up, any);
    case 3:
      return whole_path<AnyMode, fp16>(set_up, any);
    case 4:
      return whole_path<AnyMode, std::int32_t>(set_up, any);
    default:
      return whole_path<AnyMode, std::int64_t>(set_up, any);
  }
}

}  // namespace

TEST_CASE("every row arrives everywhere and comes back summed, whatever the set-up") {
  const std::uint64_t seed = support::seed("whole_path", 20261124);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 600; ++i) {
    const SetUp set_up = SetUp::draw(random);
    const std::uint64_t mode = random(), type = random();
    INFO("set-up ", i, ": ", set_up.text(), " mode ", mode % 12, " type ", type % 6);
    CHECK_NOTHROW(any_type(set_up, mode, type));
  }
}
