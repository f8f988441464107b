// Graphs within a budget on simulated GPUs: what goes is gone before the next is uploaded, and every
// row stays right.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include "device_path/serving.hpp"
#include "property/whole_path.hpp"
#include "sim/world.hpp"

namespace {

using namespace dpgather;
using namespace test;

/// Most executable graphs that a rank had when it uploaded one.
int most_when_uploading(int rank) {
  int live = 0, most = 0;
  for (const auto& call : sim::last_report().ranks[static_cast<std::size_t>(rank)].log) {
    const std::string_view name = call;
    live += name.find("cudaGraphInstantiate") != name.npos;
    live -= name.find("cudaGraphExecDestroy") != name.npos;
    if (name.find("cudaGraphUpload") != name.npos) most = std::max(most, live);
  }
  return most;
}

template <class Comm, class Eviction>
void serve(Transport transport, Eviction eviction, int devices, std::uint64_t evictions_at_least) {
  const DpLayout layout{.dp = 2};
  const DeviceWorld<Comm> world(layout);
  std::vector<GraphStatistics> did(2);
  sim::run({.ranks = 2, .devices = devices}, [&](int r) {
    run_device_rank(world, r, devices, [&](RankOf<Comm>& rank) {
      Serving<AnyMode, Comm, Eviction> serving(rank, true, AnyMode{transport}, eviction);
      for (std::int64_t i = 0; i < 36; ++i) serving.step(i, {1 + i / 2 * 5 % 8, 1 + i / 3 % 3});
      did[static_cast<std::size_t>(r)] = serving.graphs().statistics();
    });
  });
  INFO("transport ", std::string(name(transport)));
  for (int r = 0; r < 2; ++r) {
    const GraphStatistics& s = did[static_cast<std::size_t>(r)];
    CHECK(s.evictions >= evictions_at_least);
    CHECK(s.replays > 0);
    CHECK(s.captures == did[0].captures);
    CHECK(s.agreed_bytes == did[0].agreed_bytes);
    CHECK(most_when_uploading(r) == 2);
  }
  CHECK(sim::last_report().leaks.empty());
}

}  // namespace

TEST_CASE_TEMPLATE("two graphs at most, in whatever order keys come", Comm, NcclComm<>,
                   ThreadComm<DeviceMemory>) {
  constexpr int devices = std::is_same_v<Comm, NcclComm<>> ? 2 : 1;
  for (const Transport transport : {Transport::max_len, Transport::sum_len_all_reduce}) {
    serve<Comm>(transport, LeastRecentlyUsed{{.graphs = 2}}, devices, 3);
    serve<Comm>(transport, LeastBenefit{.budget = {.graphs = 2}}, devices, 3);
    serve<Comm>(transport, KeepAll{{.graphs = 2}}, devices, 0);
  }
}
