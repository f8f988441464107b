// Serves steps on simulated GPUs until something is wrong; exit code 1 says what. Built against
// headers with a bug in them, it must find it.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "device_path/serving.hpp"
#include "property/whole_path.hpp"
#include "sim/world.hpp"
#if defined(OVER_IPC)
#include "support/ipc_ranks.hpp"
#endif

namespace {

using namespace dpgather;
using namespace test;

#if defined(OVER_NCCL)
using Comm = NcclComm<>;
constexpr bool own_devices = true;
#elif defined(OVER_IPC)
using Comm = IpcComm<NcclComm<>>;
constexpr bool own_devices = true;
#else
using Comm = ThreadComm<DeviceMemory>;
constexpr bool own_devices = false;
#endif

void serve(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const DpLayout layout{.dp = 2 + static_cast<int>(random() % 2),
                        .attn_tp = 1 + static_cast<int>(random() % 2)};
#if defined(OVER_IPC)
  const AnyMode mode{Transport::sum_len_peer_store};
  const DeviceWorld<Comm> world(
      layout, {.deadline = ipc_deadline, .first_epoch = static_cast<std::uint32_t>(-20)});
#else
  const AnyMode mode{any_transport<Comm>(random())};
  const DeviceWorld<Comm> world(layout);
#endif
  const int hosts = mode.transport == Transport::sum_len_hierarchical ? layout.dp : 1;
  const bool graphs = random() % 3 != 0;
  // A communicator split off a gather that graphs hold stays alive on purpose: no leak, but no use here.
  const bool renews = random() % 4 == 0 && layout.attn_tp == 1;
  const bool capture_fails = random() % 4 == 0;
  constexpr sim::Schedule schedules[] = {sim::Schedule::late, sim::Schedule::random};
  const sim::Options options{.ranks = layout.world(),
                             .devices = own_devices ? layout.world() : 1,
                             .seed = seed,
                             .schedule = schedules[seed % 2]};
  sim::run(options, [&](int r) {
    run_device_rank(world, r, options.devices, [&](RankOf<Comm>& rank) {
      Serving<AnyMode, Comm> serving(rank, graphs, mode, {}, hosts);
      std::mt19937_64 draw(seed * 31);
      std::uint64_t moved = 0;
      for (int step = 0; step < 7; ++step) {
        std::vector<std::int64_t> rows(static_cast<std::size_t>(layout.dp));
        for (auto& n : rows) n = static_cast<std::int64_t>(draw() % 5);
        rows[draw() % rows.size()] = 3;
        serving.spoils_partial = seed > 60;
        serving.fail_capture = capture_fails && rank.rank() == 1;
        serving.step(step, rows);
        const std::uint64_t now = serving.gather().moved().out;
        expect(now > moved, "step ", step, " moved no elements");
        moved = now;
        if (renews && step == 3) {
          serving.renew();
          moved = 0;
        }
      }
    });
  });
  const auto& report = sim::last_report();
  if (!report.leaks.empty()) throw std::runtime_error(report.leaks.front());
}

}  // namespace

int main() {
  // Gathers made anew report the graphs over those before them.
  destructor_error_handler() = +[](const char*) noexcept {};
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    try {
      serve(seed);
    } catch (const std::exception& error) {
      std::printf("found with seed %d: %s\n", static_cast<int>(seed), error.what());
      return 1;
    }
  }
  std::puts("nothing wrong");
}
