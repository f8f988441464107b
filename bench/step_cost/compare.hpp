// Runs every contender on every step, in turn, and prints what each takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <dpgather/dpgather.hpp>

#include "common/pin.hpp"
#include "contender.hpp"
#include "limits.hpp"
#include "report.hpp"
#include "sequence.hpp"
#include "whole_step.hpp"

namespace step_cost {

template <class Comm>
double slowest(Comm& comm, double seconds) {
  std::vector<double> all(static_cast<std::size_t>(comm.size()));
  comm.all_gather(&seconds, all.data(), 1, dpgather::HostStream{});
  return *std::max_element(all.begin(), all.end());
}

/// Every rank calls it with the same options and steps. `barrier()` is the fastest one of these
/// ranks. Returns what rank 0 reports.
template <class Comm, class Control, class Barrier>
Report compare(Comm& comm, Control& control, const Options& options, const Sequence& steps,
               const Barrier& barrier) {
  using namespace dpgather;
  const bench::Pinned here(comm.rank(), options.pin);
  const GatherConfig config{.layout = {.dp = comm.size()},
                            .hidden = options.hidden,
                            .max_local_rows = std::max<std::int64_t>(most_rows(steps), 64)};
  const Measurement measured = measure_transports<bf16>(comm, control, config);
  std::vector<Contender> all;
  const auto add = [&](std::string name, auto mode) {
    all.push_back(whole_step(std::move(name), comm, control, config, std::move(mode), barrier,
                             options.rewrite));
  };
  add("max_len", MaxLen{});
  add("sum_len_all_reduce", SumLen<AllReduce>{});
  add("sum_len_all_gather_v", SumLen<AllGatherV>{});
  if constexpr (PeerCommunicator<Comm>) add("sum_len_peer_store", SumLen<PeerStore>{});
  add("Auto<VolumeRule>", Auto<>{});
  add("Auto<MeasuredRule>", Auto<MeasuredRule>{MeasuredRule(measured.table)});
  const auto rule = all.size() - 1;
  all.push_back(copies(static_cast<std::size_t>(comm.rank()), config.max_local_rows * comm.size(),
                       options.hidden, barrier, options.rewrite));
  if constexpr (PeerCommunicator<Comm>)
    all.push_back(
        copies_across(comm, config.max_local_rows, options.hidden, barrier, options.rewrite));
  all.push_back(barrier_alone(barrier));

  for (std::int64_t pass = -1; pass < options.passes; ++pass) {  // the first is to warm up
    for (auto& one : all) one.seconds = 0;
    for (std::size_t i = 0; i < steps.size(); ++i)
      for (std::size_t k = 0; k < all.size(); ++k) {  // a drift of the machine meets all alike
        auto& one = all[(k + i) % all.size()];
        barrier();
        one.seconds += one.run(steps[i]);
      }
    for (auto& one : all) {
      const double seconds = slowest(comm, one.seconds);
      if (pass >= 0) one.passes.push_back(seconds / static_cast<double>(steps.size()));
    }
  }
  Report report{.ranks = comm.size(),
                .hidden = options.hidden,
                .steps = static_cast<std::int64_t>(steps.size()),
                .of_trace = !options.counts.empty(),
                .rewritten = options.rewrite,
                .measured_in = measured.seconds};
  for (auto& one : all) report.add(one.name, std::move(one.passes));
  const ChoiceCounts choices = all[rule].choices();
  report.least_time = choices[ChoiceReason::least_time];
  report.within_margin = choices[ChoiceReason::within_margin];
  return report;
}

}  // namespace step_cost
