// The whole path on simulated GPUs: both device communicators, CUDA graphs, thousands of schedules.
#include <cstdlib>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include <dpgather/cuda.hpp>

#include "property/whole_path.hpp"
#include "sim/launch.hpp"
#include "sim/world.hpp"
#include "support/device_ranks.hpp"
#include "support/sanitized.hpp"
#include "support/seed.hpp"
#include "support/transfer_cuda.hpp"

namespace {

using namespace test;
using Threads = ThreadComm<DeviceMemory>;

/// How many schedules are tried: DPGATHER_SIM_SEEDS, for a soak, or what fits into a test run.
int seeds(int usual) {
  const char* const given = std::getenv("DPGATHER_SIM_SEEDS");
  if (given == nullptr) return support::sanitized ? usual / 50 + 1 : usual;
  const int value = std::atoi(given);
  REQUIRE_MESSAGE(value >= 1, "DPGATHER_SIM_SEEDS is \"", given, "\", must be a number from 1");
  return value;
}

sim::Options options_of(const SetUp& set_up, std::uint64_t seed, int devices) {
  constexpr sim::Schedule schedules[] = {sim::Schedule::late, sim::Schedule::late,
                                         sim::Schedule::random, sim::Schedule::eager};
  return {.ranks = set_up.layout.world(),
          .devices = devices,
          .seed = seed,
          .schedule = schedules[seed % 4]};
}

template <class Mode, class T, class Comm>
void serve(const SetUp& set_up, std::uint64_t seed, int devices, Mode mode = {}) {
  const DeviceWorld<Comm> world(set_up.layout);
  sim::run(options_of(set_up, seed, devices), [&](int r) {
    run_device_rank(world, r, devices, [&](RankOf<Comm>& rank) {
      WholePath<Mode, T, Comm, CudaGraphs>(rank, set_up, mode).run();
    });
  });
  const auto& report = sim::last_report();
  CHECK_MESSAGE(report.leaks.empty(), report.leaks.size(), " leaks, first: ", report.leaks.front());
}

/// Of one seed: which set-up, mode and type. NCCL has a GPU a rank, threads share 1, 2 or more.
void serve_seed(std::uint64_t seed, bool short_steps) {
  std::mt19937_64 random(seed);
  SetUp set_up = SetUp::draw(random);
  if (short_steps) {
    constexpr DpLayout layouts[] = {
        {.dp = 2}, {.dp = 2, .attn_tp = 2}, {.dp = 3}, {.dp = 1, .attn_tp = 2}};
    set_up.layout = layouts[random() % 4];
    set_up.hidden = 1 + set_up.hidden % 3;
    set_up.max_requests = 1 + set_up.max_requests % 4;
    set_up.steps = 3;
    set_up.spare_rows = 12;
  }
  const std::uint64_t transport = random();
  const bool threads = random() % 2 != 0;
  const AnyMode any{threads ? any_transport<Threads>(transport)
                            : any_transport<NcclComm<>>(transport)};
  const int devices = threads ? 1 + static_cast<int>(random() % 3) : set_up.layout.world();
  INFO("seed ", seed, ": ", set_up.text(), threads ? " threads" : " nccl", " transport ",
       name(any.transport), " devices ", devices);
  try {
    switch (random() % 4) {
      case 0:
        return threads ? serve<AnyMode, bf16, Threads>(set_up, seed, devices, any)
                       : serve<AnyMode, bf16, NcclComm<>>(set_up, seed, devices, any);
      case 1:
        return threads ? serve<Auto<>, float, Threads>(set_up, seed, devices)
                       : serve<Auto<>, float, NcclComm<>>(set_up, seed, devices);
      default:
        return threads ? serve<AnyMode, float, Threads>(set_up, seed, devices, any)
                       : serve<AnyMode, float, NcclComm<>>(set_up, seed, devices, any);
    }
  } catch (const std::exception& error) {
    FAIL_CHECK(error.what());
  }
}

}  // namespace

TEST_CASE("short steps come out right under every schedule") {
  const std::uint64_t first = support::seed("whole_path_sim short", 1);
  for (std::uint64_t seed = first; seed < first + static_cast<std::uint64_t>(seeds(10000)); ++seed)
    serve_seed(seed, true);
}

TEST_CASE("every row arrives everywhere and comes back summed, on simulated GPUs") {
  const std::uint64_t first = support::seed("whole_path_sim", 20261125);
  for (std::uint64_t seed = first; seed < first + static_cast<std::uint64_t>(seeds(200)); ++seed)
    serve_seed(seed, false);
}
