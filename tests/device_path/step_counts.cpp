// What a step costs in kernels, copies and collectives, per mode, as the simulation counts it. The
// table in docs/device_path.md is this test's.
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/cuda.hpp>

#include "sim/launch.hpp"
#include "sim/world.hpp"
#include "support/device_ranks.hpp"

namespace {

using namespace dpgather;
using namespace test;
// Checks that communicate would add kernels and collectives of their own.
using Comm = NcclComm<DeviceMemory, CheckLevel::local>;

struct Cost {
  std::int64_t kernels = 0, copies = 0, collectives = 0, memops = 0, syncs = 0, allocations = 0;
  friend bool operator==(const Cost&, const Cost&) = default;
  [[nodiscard]] std::string text() const {
    return concat(kernels, " kernels, ", copies, " copies, ", collectives, " collectives, ", memops,
                  " memops, ", syncs, " syncs, ", allocations, " allocations");
  }
};

/// Of the calling rank so far.
Cost so_far() {
  const auto& mine = sim::last_report().ranks[static_cast<std::size_t>(sim::rank())];
  return {mine[sim::Count::kernel],     mine[sim::Count::copy] + mine[sim::Count::fill],
          mine[sim::Count::collective], mine[sim::Count::memop],
          mine[sim::Count::sync],       mine[sim::Count::allocation]};
}
Cost operator-(const Cost& a, const Cost& b) {
  return {a.kernels - b.kernels, a.copies - b.copies, a.collectives - b.collectives,
          a.memops - b.memops,   a.syncs - b.syncs,   a.allocations - b.allocations};
}

enum class From { rows, slot, clean_slot };

struct Costs {
  Cost begin, gather, back;
};

/// One rank's costs of a step that is not the first of its kind.
template <class Mode>
Costs costs(From from, bool padded, bool is_static, int attn_tp = 1) {
  const DpLayout layout{.dp = 2, .attn_tp = attn_tp};
  const DeviceWorld<Comm> world(layout);
  Costs result;
  sim::run({.ranks = layout.world(), .devices = layout.world()}, [&](int r) {
    run_device_rank(world, r, layout.world(), [&](RankOf<Comm>& rank) {
      DpGather<Mode, float, Comm> gather(rank.comm, {.layout = layout,
                                                     .hidden = 4,
                                                     .max_local_rows = 8,
                                                     .clean_slots = from == From::clean_slot});
      Buffer<float, DeviceMemory> rows(8 * 4), out(8 * 4);
      const std::int64_t n = padded && rank.dp() == 1 ? 2 : 4;
      for (int i = 0; i < 3; ++i) {
        const Step step = rank.agree({.tokens = n, .requests = n, .forward = Forward::decode});
        ShapeKey shape = gather.exact_shape(step);
        if (is_static)
          shape = {.local_len = 4,
                   .global_len = 8,
                   .transport = shape.transport,
                   .forward = Forward::decode,
                   .is_static = true};
        const Cost start = so_far();
        gather.begin_step(step, shape, rank.stream);
        const Cost begun = so_far();
        const Rows<float> input =
            from == From::rows ? Rows<float>(rows.data(), shape.local_len, 4) : gather.slot(shape);
        gather.gather(shape, input, rank.stream);
        const Cost gathered = so_far();
        gather.reduce_scatter(shape, gather.partial_slot(shape),
                              Rows<float>(out.data(), shape.local_len, 4), rank.stream);
        const Cost done = so_far();
        if (i == 2 && rank.rank() == layout.world() - 1)
          result = {begun - start, gathered - begun, done - gathered};
        rank.comm.synchronize(rank.stream);
      }
    });
  });
  return result;
}

void check(const Cost& cost, const Cost& want, const char* what) {
  CHECK_MESSAGE(cost == want, what, ": ", cost.text(), ", expected ", want.text());
}

}  // namespace

TEST_CASE("beginning a step is one kernel, whatever the mode") {
  const Cost one_kernel{.kernels = 1};
  for (const bool is_static : {false, true}) {
    check(costs<MaxLen>(From::rows, true, is_static).begin, one_kernel, "max_len");
    check(costs<SumLen<AllReduce>>(From::rows, true, is_static).begin, one_kernel, "sum_len");
  }
  check(costs<SumLen<AllGatherV>>(From::rows, true, false).begin, one_kernel, "sum_len_v");
  check(costs<MaxLen>(From::clean_slot, true, true).begin, {.kernels = 2}, "a slot to clean");
}

TEST_CASE("a MAX_LEN gather is a kernel and a collective, from a slot without pads a collective") {
  for (const bool is_static : {false, true}) {
    check(costs<MaxLen>(From::rows, true, is_static).gather, {.kernels = 1, .collectives = 1},
          "rows");
    check(costs<MaxLen>(From::slot, true, is_static).gather, {.kernels = 1, .collectives = 1},
          "a slot with pads to clear");
    check(costs<MaxLen>(From::clean_slot, true, is_static).gather, {.collectives = 1},
          "a clean slot");
  }
  check(costs<MaxLen>(From::slot, false, false).gather, {.collectives = 1}, "no pads");
}

TEST_CASE("a MAX_LEN way back is a collective, and a kernel where pads are to be cleared") {
  check(costs<MaxLen>(From::rows, false, false).back, {.collectives = 1}, "no pads");
  check(costs<MaxLen>(From::rows, true, false).back, {.kernels = 1, .collectives = 1}, "pads");
  check(costs<MaxLen>(From::rows, true, true).back, {.kernels = 1, .collectives = 1}, "static");
  check(costs<MaxLen>(From::rows, false, false, 2).back, {.collectives = 2},
        "attention TP gathers its slices");
}

TEST_CASE("SUM_LEN costs a kernel and an all-reduce each way; all-gather-v a group alone") {
  for (const bool is_static : {false, true}) {
    const Costs sum = costs<SumLen<AllReduce>>(From::rows, true, is_static);
    check(sum.gather, {.kernels = 1, .collectives = 1}, "all-reduce out");
    check(sum.back, {.kernels = 1, .collectives = 1}, "all-reduce back");
  }
  const Costs v = costs<SumLen<AllGatherV>>(From::rows, true, false);
  check(v.gather, {.collectives = 1}, "a group of broadcasts");
  check(v.back, {.collectives = 1}, "a group of reduces");
  check(costs<SumLen<AllGatherV>>(From::rows, false, false).gather, {.collectives = 1},
        "equal counts take the plain all-gather");
}
