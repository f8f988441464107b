// What the rules cost on one sequence of steps: fixed modes, VolumeRule and MeasuredRule side by side.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <support/seed.hpp>

#include <dpgather/dpgather.hpp>

namespace rule_cost {

struct Options {
  int ranks = 2;
  std::int64_t hidden = 1024, most = 512;
  int steps = 300, passes = 5;
  std::uint64_t seed = 1;
};

inline void add_options(CLI::App& app, Options& options) {
  app.add_option("--hidden", options.hidden, "elements (bf16) per row")->check(CLI::PositiveNumber);
  app.add_option("--most", options.most, "rows of a rank in a prefill")
      ->check(CLI::Range(16, 65536));
  app.add_option("--steps", options.steps)->check(CLI::PositiveNumber);
  app.add_option("--passes", options.passes, "over the steps; the median counts")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed);
}

/// Half the steps decode, nearly even; a quarter decode with idle ranks; a quarter have ranks that prefill.
inline std::vector<std::int64_t> draw(support::Random& random, const Options& options, int dp) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(dp));
  const std::int64_t kind = random.between(0, 3), base = random.between(4, 48);
  for (auto& n : rows) {
    n = base + random.between(-3, 3);
    if (kind == 2 && random.chance(50)) n = 0;
    if (kind == 3) n = random.chance(100 / dp) ? random.between(options.most / 4, options.most) : n;
  }
  return rows;
}

/// A gather of any mode, by one interface.
struct Contender {
  std::string name;
  std::function<void(const dpgather::Step&)> run;
  std::function<dpgather::ChoiceCounts()> choices;
  double seconds = 0;               ///< of this pass, on this rank
  std::vector<double> passes = {};  ///< of the slowest rank
};

template <class Comm, class Mode>
Contender contender(std::string name, Comm& comm, const dpgather::GatherConfig& config, Mode mode) {
  using Gather = dpgather::DpGather<Mode, dpgather::bf16, Comm>;
  using Local = std::vector<dpgather::bf16>;
  const auto gather = std::make_shared<Gather>(comm, config, std::move(mode));
  const auto room = static_cast<std::size_t>(config.max_local_rows * config.hidden);
  const auto in = std::make_shared<Local>(room, dpgather::bf16(1.f));
  const auto out = std::make_shared<Local>(room, dpgather::bf16(0.f));
  const std::int64_t hidden = config.hidden;
  return {std::move(name),
          [=](const dpgather::Step& step) {
            const auto shape = gather->exact_shape(step);
            gather->begin_step(step, shape, {});
            const std::int64_t n = step.own_tokens();
            (void)gather->gather(shape, dpgather::Rows<const dpgather::bf16>(in->data(), n, hidden),
                                 {});
            gather->reduce_scatter(shape, gather->partial_slot(shape),
                                   dpgather::Rows<dpgather::bf16>(out->data(), n, hidden), {});
          },
          [=] { return gather->choices(); }};
}

/// On every rank; rank 0 prints.
template <class Comm, class Control>
void compare(Comm& comm, Control& control, const Options& options) {
  using namespace dpgather;
  const DpLayout layout{.dp = comm.size()};
  const GatherConfig config{.layout = layout,
                            .hidden = options.hidden,
                            .max_local_rows = std::max<std::int64_t>(options.most, 64)};
  const Measurement measured = measure_transports<bf16>(comm, control, config);
  std::vector<Contender> all;
  all.push_back(contender("max_len", comm, config, MaxLen{}));
  all.push_back(contender("sum_len", comm, config, SumLen<AllReduce>{}));
  all.push_back(contender("sum_len_v", comm, config, SumLen<AllGatherV>{}));
  if constexpr (PeerCommunicator<Comm>)
    all.push_back(contender("sum_len_peer", comm, config, SumLen<PeerStore>{}));
  all.push_back(contender("Auto<VolumeRule>", comm, config, Auto<>{}));
  all.push_back(contender("Auto<MeasuredRule>", comm, config,
                          Auto<MeasuredRule>{MeasuredRule(measured.table)}));
  StepAgreement agreement(control, layout);
  for (int pass = -1; pass < options.passes; ++pass) {  // the first is to warm up
    support::Random random(options.seed);
    for (auto& one : all) one.seconds = 0;
    for (int i = 0; i < options.steps; ++i) {
      const std::int64_t n =
          draw(random, options, layout.dp)[static_cast<std::size_t>(comm.rank())];
      agreement.post(
          {.tokens = n, .requests = n, .forward = n > 0 ? Forward::decode : Forward::idle});
      const Step step = agreement.wait();
      for (std::size_t k = 0; k < all.size(); ++k) {  // a drift of the machine meets all alike
        auto& one = all[(k + static_cast<std::size_t>(i)) % all.size()];
        const auto begun = std::chrono::steady_clock::now();
        one.run(step);
        one.seconds +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
      }
    }
    for (auto& one : all) {
      const double slowest = detail::slowest(control, {one.seconds, 0}).once;
      if (pass >= 0) one.passes.push_back(slowest);
    }
  }
  if (comm.rank() != 0) return;
  std::printf("%d ranks, H %lld bf16, %d steps, %d passes; measured in %.2f s, %zu sizes\n",
              comm.size(), static_cast<long long>(options.hidden), options.steps, options.passes,
              measured.seconds, measured.sizes.size());
  std::printf("%-20s %12s %9s\n", "", "us per step", "spread");
  for (auto& one : all) {
    std::sort(one.passes.begin(), one.passes.end());
    const double median = one.passes[one.passes.size() / 2];
    std::printf("%-20s %12.1f %7.0f %%\n", one.name.c_str(), median / options.steps * 1e6,
                (one.passes.back() - one.passes.front()) / median * 100);
  }
  const ChoiceCounts choices = all.back().choices();
  std::printf("least_time %llu, within_margin %llu\n",
              static_cast<unsigned long long>(choices[ChoiceReason::least_time]),
              static_cast<unsigned long long>(choices[ChoiceReason::within_margin]));
}

}  // namespace rule_cost
