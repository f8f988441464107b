// A fault at every call of a step: every rank completes right or gets the same error, the batch is
// restored, nothing leaks and nothing hangs.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "device_path/serving.hpp"
#include "property/whole_path.hpp"
#include "sim/world.hpp"
#include "support/ipc_ranks.hpp"

namespace {

using namespace dpgather;
using namespace test;

constexpr int steps = 4;  // warm-up with capture, two replays, and a step of another size
const std::vector<std::int64_t> rows_of_step[steps] = {{3, 1}, {4, 2}, {2, 4}, {0, 6}};

struct Outcome {
  std::string error;   // empty: all steps came out right
  std::string detail;  // the part of it that ranks may share
  bool restored = true;
  std::int64_t first_call = 0;  // of the steps, after all was set up
  std::int64_t last_call = 0;   // before all was taken down
};

std::int64_t calls_so_far() {
  return sim::last_report().ranks[static_cast<std::size_t>(sim::rank())].calls;
}

template <class Comm>
std::vector<Outcome> serve(const sim::Options& options, Transport transport, bool graphs,
                           int attn_tp) {
  const DpLayout layout{.dp = 2, .attn_tp = attn_tp};
  const DeviceWorld<Comm> world(layout);
  std::vector<Outcome> outcomes(static_cast<std::size_t>(layout.world()));
  sim::run(options, [&](int r) {
    Outcome& mine = outcomes[static_cast<std::size_t>(r)];
    run_device_rank(world, r, options.devices, [&](RankOf<Comm>& rank) {
      const int hosts = transport == Transport::sum_len_hierarchical ? 2 : 1;
      Serving<AnyMode, Comm> serving(rank, graphs, AnyMode{transport}, {}, hosts);
      mine.first_call = calls_so_far();
      int step = 0;
      try {
        for (; step < steps; ++step) serving.step(step, rows_of_step[step]);
      } catch (const std::exception& error) {
        // What an engine does: peers learn the reason, wherever they wait.
        mine.error = error.what();
        const auto* const ours = dynamic_cast<const Error*>(&error);
        mine.detail = ours != nullptr ? ours->detail() : mine.error;
        rank.comm.abort(error.what());
        rank.agreement.abort(error.what());
        mine.restored = serving.restored(rows_of_step[step][static_cast<std::size_t>(rank.dp())]);
      }
      mine.last_call = calls_so_far();
    });
  });
  return outcomes;
}

sim::Options options_for(int world, bool one_device) {
  return {.ranks = world, .devices = one_device ? 1 : world};
}

/// A call that gives something back: what it was to free stays, by the fault itself.
bool releases(std::string_view call) {
  return call.find("Free") != call.npos || call.find("Destroy") != call.npos ||
         call.find("EndCapture") != call.npos || call.find("Abort") != call.npos ||
         call.find("Deregister") != call.npos;
}

template <class Comm>
void a_fault_at_every_call(bool one_device, int attn_tp,
                           const std::vector<Transport>& transports = {
                               Transport::max_len, Transport::sum_len_all_reduce,
                               Transport::sum_len_all_gather_v, Transport::sum_len_peer_store,
                               Transport::sum_len_hierarchical}) {
  for (const Transport transport : transports)
    for (const bool graphs : {false, true}) {
      if (transport >= Transport::sum_len_peer_store && !PeerCommunicator<Comm>) continue;
      const int world = 2 * attn_tp;
      const sim::Options usual = options_for(world, one_device);
      const auto right = serve<Comm>(usual, transport, graphs, attn_tp);
      const sim::Report calls = sim::last_report();
      REQUIRE(calls.leaks.empty());
      const int faulty = world - 1;
      const auto f = static_cast<std::size_t>(faulty);
      REQUIRE(right[f].error.empty());
      // By hosts there are three communicators to a rank, and many more calls.
      const int stride = transport == Transport::sum_len_hierarchical ? 3 : 1;
      for (std::int64_t call = right[f].first_call; call < right[f].last_call; call += stride) {
        sim::Options options = usual;
        options.faults = {{.rank = faulty, .call = call, .cuda = cudaErrorUnknown}};
        const std::string_view name = calls.ranks[f].log[static_cast<std::size_t>(call)];
        // NCCL waits for a graph that CUDA does not let go of, and nothing can be done about it.
        if (name.find("cudaGraphDestroy") != name.npos || name.find("ExecDestroy") != name.npos)
          continue;
        INFO("transport ", std::string(dpgather::name(transport)), graphs ? " graphs" : "",
             " attn_tp ", attn_tp, ": fault at call ", call, ", ", std::string(name));
        const auto outcomes = serve<Comm>(options, transport, graphs, attn_tp);
        const std::string& root = outcomes[f].detail;
        for (const Outcome& outcome : outcomes) {
          CHECK(outcome.restored);
          // The reason of the rank that failed is part of each peer's error; or a peer's is part of
          // its own, where that rank went on and left them waiting.
          if (!outcome.error.empty())
            CHECK_MESSAGE((outcome.error.find(root) != std::string::npos ||
                           root.find(outcome.error) != std::string::npos),
                          "root: \"", root, "\", error: \"", outcome.error, "\"");
        }
        if (!releases(name))
          CHECK_MESSAGE(sim::last_report().leaks.empty(), sim::last_report().leaks.front());
      }
    }
}

}  // namespace

TEST_CASE("a fault at any call of a step over NCCL is the same error everywhere, or none") {
  a_fault_at_every_call<NcclComm<>>(false, 1);
}

TEST_CASE("a fault at any call of a step between threads is the same error everywhere, or none") {
  a_fault_at_every_call<ThreadComm<DeviceMemory>>(true, 1);
}

TEST_CASE("a fault at any call of a step between processes is the same error everywhere, or none") {
  a_fault_at_every_call<IpcComm<NcclComm<>>>(false, 1, {Transport::sum_len_peer_store});
}

TEST_CASE_TEMPLATE("a rank that stops for good ends the others with an error, wherever it stops",
                   Comm, NcclComm<>, IpcComm<NcclComm<>>) {
  constexpr auto transport =
      PeerCommunicator<Comm> ? Transport::sum_len_peer_store : Transport::max_len;
  const auto right = serve<Comm>(options_for(2, false), transport, true, 1);
  const auto& log = sim::last_report().ranks[1].log;
  std::int64_t last_launch = right[1].last_call - 1;
  while (std::string_view(log[static_cast<std::size_t>(last_launch)]) != "cudaGraphLaunch")
    --last_launch;
  REQUIRE(last_launch > right[1].first_call);
  for (std::int64_t call = right[1].first_call; call < right[1].last_call; call += 3) {
    sim::Options options = options_for(2, false);
    options.faults = {{.rank = 1, .call = call, .stops = true}};
    INFO("stops at call ", call);
    const auto outcomes = serve<Comm>(options, transport, true, 1);
    // Past its last launch rank 0 may have all it needs.
    if (call <= last_launch) CHECK(!outcomes[0].error.empty());
    CHECK(outcomes[0].restored);
  }
}
