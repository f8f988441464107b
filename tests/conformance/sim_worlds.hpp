// The harness whose devices and NCCL are simulated (docs/simulation.md).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "conformance/barrier.hpp"
#include "conformance/device_worlds.hpp"
#include "sim/launch.hpp"
#include "sim/world.hpp"

namespace conformance {

struct SimHarness {
  static constexpr bool simulated = true;
  static constexpr std::chrono::milliseconds soon{300};
  static std::vector<int> nccl_sizes() { return {1, 2, 4, 8}; }
  static std::vector<int> thread_sizes() { return {1, 2, 3, 8}; }

  /// Under each kind of schedule. Ranks that share devices have one, two and three of them.
  template <class Make, class Body>
  static std::string run(int size, bool one_each, const Make& make, const Body& body) {
    std::string text;
    int most = 1;
    static const std::uint64_t base = support::seed("schedules", 1);
    std::uint64_t seed = base;
    for (const auto schedule : {sim::Schedule::late, sim::Schedule::random, sim::Schedule::eager}) {
      const sim::Options options{.ranks = size,
                                 .devices = one_each ? size : std::min(size, most++),
                                 .seed = seed,
                                 .schedule = schedule};
      const std::string found = run_once(options, make, body);
      if (!found.empty())
        text += concat("\n  schedule ", static_cast<int>(schedule), ", seed ", seed, ", ",
                       options.devices, " devices:", found);
      ++seed;
    }
    return text;
  }

 private:
  template <class Make, class Body>
  static std::string run_once(const sim::Options& options, const Make& make, const Body& body) {
    std::vector<Findings> findings(static_cast<std::size_t>(options.ranks));
    Findings of_run;
    Barrier all(options.ranks);
    const auto made = make();
    try {
      sim::run(options, [&](int rank) {
        Findings& mine = findings[static_cast<std::size_t>(rank)];
        dpgather::detail::cuda_check(cudaSetDevice(rank % options.devices), "cudaSetDevice");
        try {
          body(Rank{rank, options.ranks, mine, [&all] { all.arrive_and_wait(); }}, made);
        } catch (const Planned&) {
        } catch (const std::exception& error) {
          mine.expect(false, concat("threw ", error.what()));
        }
        all.arrive_and_drop();
      });
    } catch (const std::exception& error) {  // a deadlock, or device memory was misused
      of_run.expect(false, error.what());
    }
    for (const auto& leak : sim::last_report().leaks)
      of_run.expect(std::any_of(findings.begin(), findings.end(),
                                [&](const Findings& rank) { return rank.leak_allowed(leak); }),
                    "left over: " + leak);
    std::string text = of_run.text();
    for (int rank = 0; rank < options.ranks; ++rank)
      text += findings_of(rank, findings[static_cast<std::size_t>(rank)]);
    return text;
  }
};

}  // namespace conformance
