// SumLen<PeerStore> and SumLen<Hierarchical> on simulated GPUs: streams wait by flags in graphs and by events outside, and
// ranks run ahead of each other.
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/cuda.hpp>

#include "property/layers.hpp"
#include "sim/launch.hpp"
#include "sim/world.hpp"
#include "support/device_ranks.hpp"
#include "support/seed.hpp"

namespace {

using namespace test;
// Checks that communicate would order ranks, too.
using Comm = ThreadComm<DeviceMemory, CheckLevel::local>;

template <class Mode>
void serve(const DpLayout& layout, int devices, int gathers, std::uint64_t seed, int hosts = 1) {
  const DeviceWorld<Comm> world(layout);
  const auto schedule = seed % 2 == 0 ? sim::Schedule::late : sim::Schedule::random;
  sim::run({.ranks = layout.world(), .devices = devices, .seed = seed, .schedule = schedule},
           [&](int r) {
             run_device_rank(world, r, devices, [&](RankOf<Comm>& rank) {
               Layers<Mode, float, Comm, CudaGraphs> layers(rank, 4, gathers, 3, hosts);
               std::mt19937_64 random(seed);
               for (int step = 0; step < 12; ++step) {
                 layers.step(step, draw_rows(random, layout.dp, 4));
                 if (step % 5 == 4) layers.check();
               }
               layers.check();
               expect(layers.statistics().replays > 0, "no graph was replayed");
             });
           });
  CHECK(sim::last_report().leaks.empty());
}

/// Kernels of rank 0 in a static step: begin_step, gather, reduce_scatter.
template <class How>
std::vector<std::int64_t> kernels(int hosts) {
  const DpLayout layout{.dp = 2};
  const DeviceWorld<Comm> world(layout);
  std::vector<std::int64_t> found;
  sim::run({.ranks = 2, .devices = 1}, [&](int r) {
    run_device_rank(world, r, 1, [&](RankOf<Comm>& rank) {
      const auto so_far = [&] {
        return sim::last_report().ranks[static_cast<std::size_t>(r)][sim::Count::kernel];
      };
      DpGather<SumLen<How>, float, Comm> gather(
          rank.comm, {.layout = layout, .hidden = 4, .max_local_rows = 8, .hosts = hosts});
      const Step step = rank.agree({.tokens = 3, .requests = 3, .forward = Forward::decode});
      const ShapeKey shape{.local_len = 4,
                           .global_len = 8,
                           .transport = How::transport,
                           .forward = Forward::decode,
                           .is_static = true};
      const std::int64_t start = so_far();
      gather.begin_step(step, shape, rank.stream);
      const std::int64_t begun = so_far();
      gather.gather(shape, gather.slot(shape), rank.stream);
      const std::int64_t gathered = so_far();
      gather.reduce_scatter(shape, gather.partial_slot(shape), gather.slot(shape), rank.stream);
      if (r == 0) found = {begun - start, gathered - begun, so_far() - gathered};
      rank.comm.synchronize(rank.stream);
    });
  });
  return found;
}

}  // namespace

TEST_CASE("a gather is two kernels between barriers, the way back one") {
  CHECK(kernels<PeerStore>(1) == std::vector<std::int64_t>{1, 2, 1});
  CHECK(kernels<Hierarchical>(1) == std::vector<std::int64_t>{1, 2, 1});
}

TEST_CASE("by way of hosts a call is two kernels, and one for the exchange of leaders") {
  CHECK(kernels<Hierarchical>(2) == std::vector<std::int64_t>{1, 3, 3});
}

TEST_CASE("gathered rows stay until the rank's own next gather, on every schedule") {
  const std::uint64_t first = support::seed("device_path peer_store", 1);
  constexpr DpLayout layouts[] = {{.dp = 2}, {.dp = 3}, {.dp = 2, .attn_tp = 2}, {.dp = 1}};
  for (std::uint64_t seed = first; seed < first + 60; ++seed) {
    const DpLayout& layout = layouts[seed % 4];
    const int gathers = 1 + static_cast<int>(seed % 5);
    const int devices = 1 + static_cast<int>(seed / 4 % 3);
    INFO("seed ", seed, ": ", layout.dp, " * ", layout.attn_tp, " ranks on ", devices, " GPUs, ",
         gathers, " gathers a step");
    CHECK_NOTHROW(serve<SumLen<PeerStore>>(layout, devices, gathers, seed));
  }
}

TEST_CASE(
    "rows gathered by way of hosts stay until the rank's own next gather, on every schedule") {
  struct OnHosts {
    DpLayout layout;
    int hosts;
  };
  const std::uint64_t first = support::seed("device_path hierarchical", 1);
  constexpr OnHosts all[] = {{{.dp = 2}, 2}, {{.dp = 4}, 2}, {{.dp = 2, .attn_tp = 2}, 2},
                             {{.dp = 3}, 1}, {{.dp = 4}, 4}, {{.dp = 6}, 2}};
  for (std::uint64_t seed = first; seed < first + 60; ++seed) {
    const DpLayout& layout = all[seed % 6].layout;
    const int hosts = all[seed % 6].hosts;
    const int gathers = 1 + static_cast<int>(seed % 5);
    const int devices = 1 + static_cast<int>(seed / 6 % 3);
    INFO("seed ", seed, ": ", hosts, " hosts of ", layout.dp / hosts, " * ", layout.attn_tp,
         " ranks on ", devices, " GPUs, ", gathers, " gathers a step");
    CHECK_NOTHROW(serve<SumLen<Hierarchical>>(layout, devices, gathers, seed, hosts));
  }
}
