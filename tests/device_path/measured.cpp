// Start-up measurement and the rule by it on simulated GPUs: between threads and over NCCL.
#include <cstdint>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/cuda.hpp>
#include <dpgather/dpgather.hpp>

#include "sim/launch.hpp"
#include "sim/world.hpp"
#include "support/device_ranks.hpp"

namespace {

using namespace dpgather;
using namespace test;

constexpr std::int64_t H = 4, most = 8;

void copy(float* to, const float* from, std::size_t count) {
  if (count > 0)
    detail::cuda_check(cudaMemcpy(to, from, count * sizeof(float), cudaMemcpyDefault),
                       "cudaMemcpy");
}

template <class Comm>
void measure_and_serve(const DpLayout& layout, bool peers, std::uint64_t seed) {
  const DeviceWorld<Comm> world(layout);
  std::vector<CostTable> tables(static_cast<std::size_t>(layout.world()));
  const int devices = layout.world();
  sim::run({.ranks = layout.world(), .devices = devices, .seed = seed}, [&](int r) {
    run_device_rank(world, r, devices, [&](RankOf<Comm>& rank) {
      const GatherConfig config{.layout = layout, .hidden = H, .max_local_rows = most};
      const Measurement measured =
          measure_transports(rank.comm, rank.control, config, rank.stream,
                             {.budget = {.seconds = 0.5, .sizes = 3, .most_repetitions = 2}});
      expect(measured.table.of(Transport::sum_len_peer_store).has_value() == peers,
             "peer stores were not measured as they should");
      tables[static_cast<std::size_t>(r)] = measured.table;

      DpGather<Auto<MeasuredRule>, float, Comm> gather(rank.comm, config,
                                                       {MeasuredRule(measured.table)});
      rank.agreement.set_policy(gather.fingerprint());
      using Visible = typename DeviceMemory::visible_type;
      Buffer<float, Visible> mine(most * H), back(most * H);
      std::mt19937_64 random(seed);
      for (int step = 0; step < 10; ++step) {
        std::vector<std::int64_t> counts(static_cast<std::size_t>(layout.dp));
        for (auto& n : counts)
          n = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most + 1));
        const std::int64_t n = counts[static_cast<std::size_t>(rank.dp())];
        const Step agreed = rank.agree_decode(n);
        const ShapeKey shape = gather.exact_shape(agreed);
        gather.begin_step(agreed, shape, rank.stream);
        for (std::int64_t k = 0; k < n * H; ++k)
          mine.data()[k] = static_cast<float>(step * 500 + rank.dp() * 50 + k);
        const Rows<const float> all =
            gather.gather(shape, Rows<const float>(mine.data(), n, H), rank.stream);
        rank.comm.synchronize(rank.stream);
        std::vector<float> seen(static_cast<std::size_t>(all.size()));
        copy(seen.data(), all.data(), seen.size());
        const Plan& plan = gather.plan();
        for (std::size_t d = 0; d < counts.size(); ++d)
          for (std::int64_t k = 0; k < counts[d] * H; ++k) {
            const float got = seen[static_cast<std::size_t>(plan.offsets[d] * H + k)];
            expect(got == static_cast<float>(step * 500 + static_cast<int>(d) * 50 + k), "step ",
                   step, " ", shape, ": element ", k, " of rank ", d, " is ", got);
          }
        const Rows<float> partial = gather.partial_slot(shape);
        const std::vector<float> sums(seen.size(), static_cast<float>(1 + r));
        copy(partial.data(), sums.data(), sums.size());
        gather.reduce_scatter(shape, partial, Rows<float>(back.data(), n, H), rank.stream);
        rank.comm.synchronize(rank.stream);
        const int ranks = layout.world();
        for (std::int64_t k = 0; k < n * H; ++k)
          expect(back.data()[k] == static_cast<float>(ranks * (ranks + 1) / 2), "step ", step, " ",
                 shape, ": sum ", k, " is ", back.data()[k]);
        gather.status();
      }
    });
  });
  for (const CostTable& table : tables) CHECK(table == tables.front());
  CHECK(sim::last_report().leaks.empty());
}

}  // namespace

TEST_CASE("threads with a GPU each measure, peer stores too, and serve by what they found") {
  for (const std::uint64_t seed : {1u, 2u})
    measure_and_serve<ThreadComm<DeviceMemory, CheckLevel::local>>({.dp = 3}, true, seed);
}

TEST_CASE("ranks of NCCL measure and serve by what they found") {
  for (const std::uint64_t seed : {1u, 2u})
    measure_and_serve<NcclComm<DeviceMemory, CheckLevel::local>>({.dp = 2}, false, seed);
}
