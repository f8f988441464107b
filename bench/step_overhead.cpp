// What a step costs on the host beside moving rows: nanoseconds and allocations by the number of DP
// ranks. Ranks are not there: the control plane copies this rank's record W times.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/callable_control.hpp>
#include <dpgather/exchange/auto_mode.hpp>
#include <dpgather/exchange/device_counts.hpp>
#include <dpgather/graph/select.hpp>
#include <dpgather/padded_batch.hpp>
#include <dpgather/passenger_cache.hpp>
#include <dpgather/plan/shape_sizes.hpp>

#include "support/allocations.hpp"

namespace {

using namespace dpgather;
using benchmark::State;

/// Uneven counts up to 200 a rank.
std::vector<std::int64_t> some_counts(std::int64_t ranks) {
  std::vector<std::int64_t> counts;
  for (std::int64_t rank = 0; rank < ranks; ++rank) counts.push_back(100 + rank * 7919 % 101);
  return counts;
}

DpLayout layout_of(const State& state) {
  return {.dp = static_cast<int>(state.range(0))};
}

/// What every rank of W would post, so that a step can be agreed without any of them.
class Echo {
 public:
  explicit Echo(std::vector<std::int64_t> counts) : counts_(std::move(counts)) {}
  void operator()(std::span<const std::byte> mine, std::span<std::byte> all) const {
    detail::StepRecord record;
    std::memcpy(static_cast<void*>(&record), mine.data(), sizeof record);
    for (std::size_t rank = 0; rank < counts_.size(); ++rank) {
      record.rank = static_cast<std::int32_t>(rank);
      record.phase[0].tokens = record.phase[0].requests = record.phase[0].logits = counts_[rank];
      std::memcpy(all.data() + rank * sizeof record, &record, sizeof record);
    }
  }

 private:
  std::vector<std::int64_t> counts_;
};

/// Runs `step()` and says what it allocates each time, once it has settled.
template <class Step>
void measure(State& state, const Step& step) {
  for (int i = 0; i < 3; ++i) step();
  const std::uint64_t before = support::allocations_of_this_thread();
  std::int64_t steps = 0;
  for ([[maybe_unused]] auto _ : state) {
    step();
    ++steps;
  }
  const auto made = static_cast<double>(support::allocations_of_this_thread() - before);
  state.counters["allocations"] = steps > 0 ? made / static_cast<double>(steps) : 0;
}

void rule(State& state) {
  const auto counts = some_counts(state.range(0));
  measure(state, [&] { benchmark::DoNotOptimize(VolumeRule{}.choose({counts})); });
}

void plan(State& state) {
  const auto counts = some_counts(state.range(0));
  const PlanInput input{layout_of(state), counts};
  const Auto<> mode;
  Plan made;
  measure(state, [&] {
    make_plan(
        input, 0, ExactLen{},
        [&](const StepLoad& load) { return *mode.choose(load, {}).transport; }, made);
    benchmark::DoNotOptimize(made.shape.global_len);
  });
}

/// The key of a step, by 36 pairs of sizes.
void key(State& state) {
  const auto counts = some_counts(state.range(0));
  const PlanInput input{layout_of(state), counts};
  std::vector<SizePair> pairs;
  for (std::int64_t i = 1; i <= 36; ++i) pairs.push_back({i * 8, state.range(0) * i * 6 + i * 8});
  const ShapeSizes sizes(pairs, {.ranks = static_cast<int>(state.range(0))});
  measure(state, [&] {
    benchmark::DoNotOptimize(
        select_shape(input, max(counts), true, Transport::sum_len_peer_store, sizes).shape);
  });
}

/// Among 36 graphs.
void look_up(State& state) {
  PassengerCache<> cache(CaptureSizes::sglang(256));
  const auto shapes = max_len_shapes(cache.sizes(), layout_of(state));
  for (const ShapeKey& shape : shapes) static_cast<void>(cache.note_capture(shape));
  std::size_t at = 0;
  measure(state, [&] {
    at = (at + 7) % shapes.size();
    benchmark::DoNotOptimize(cache.holds(shapes[at]));
  });
}

/// Packing this rank's record, and judging those of all; copying W records, too.
void agree(State& state) {
  CallableControl control(0, static_cast<int>(state.range(0)), Echo(some_counts(state.range(0))));
  StepAgreement agreement(control, layout_of(state));
  measure(state, [&] {
    agreement.post(Phase{.tokens = 100, .requests = 100, .forward = Forward::decode});
    benchmark::DoNotOptimize(agreement.wait().index());
  });
}

/// Only the copies, which another control plane makes in another way.
void copy_records(State& state) {
  const Echo echo(some_counts(state.range(0)));
  const detail::StepRecord mine{};
  std::vector<std::byte> all(sizeof mine * static_cast<std::size_t>(state.range(0)));
  measure(state, [&] {
    echo(std::as_bytes(std::span(&mine, 1)), all);
    benchmark::DoNotOptimize(all.data());
  });
}

/// Tells what Echo tells, but copies a record once only; afterwards just the step it is of, in place.
class Refresh {
 public:
  explicit Refresh(const std::vector<std::int64_t>& counts) : echo_(counts) {}
  void operator()(std::span<const std::byte> mine, std::span<std::byte> all) {
    if (all.data() != filled_) echo_(mine, all);
    filled_ = all.data();
    constexpr std::size_t at = offsetof(detail::StepRecord, step);
    for (std::size_t record = 0; record < all.size(); record += sizeof(detail::StepRecord))
      std::memcpy(all.data() + record + at, mine.data() + at, sizeof(std::int64_t));
  }

 private:
  Echo echo_;
  const std::byte* filled_ = nullptr;
};

/// Sizes, graphs and counts that a step of `ranks` ranks is planned with.
struct Planner {
  explicit Planner(std::int64_t ranks)
      : sizes(pairs_of(ranks), {.ranks = static_cast<int>(ranks)}),
        written(static_cast<int>(ranks), 0) {}

  /// Choose and plan twice as `begin_step` does, key, look-up, counts.
  void operator()(const Step& agreed) {
    const PlanInput input = agreed.plan_input(RowAxis::tokens, 0);
    detail::load_group(input, 0, made);
    benchmark::DoNotOptimize(mode.choose({made.lens, false}, {}).transport);
    const Selection selected =
        select_shape(input, max(agreed.requests()), true, Transport::sum_len_peer_store, sizes);
    benchmark::DoNotOptimize(cache.holds(selected.shape));
    detail::load_group(input, 0, made);
    benchmark::DoNotOptimize(mode.choose({made.lens, false}, {}).transport);
    make_static_plan(input, 0, selected.shape, made);
    written.write(made, HostStream{});
  }
  static std::vector<SizePair> pairs_of(std::int64_t ranks) {
    std::vector<SizePair> pairs;
    for (std::int64_t i = 1; i <= 36; ++i) pairs.push_back({i * 8, ranks * i * 6 + i * 8});
    return pairs;
  }

  const ShapeSizes sizes;
  PassengerCache<> cache{CaptureSizes::sglang(256)};
  const Auto<> mode;
  DeviceCounts<HostMemory> written;
  Plan made;
};

/// The host side of a step in a row, at a captured shape: agree (no copies of records but the step's
/// number), then what follows an agreement. Without padding, which does not depend on W.
void step(State& state) {
  CallableControl control(0, static_cast<int>(state.range(0)),
                          Refresh(some_counts(state.range(0))));
  StepAgreement agreement(control, layout_of(state));
  Planner plan_step(state.range(0));
  measure(state, [&] {
    agreement.post(Phase{.tokens = 100, .requests = 100, .forward = Forward::decode});
    plan_step(agreement.wait());
  });
}

/// What of `step` follows the agreement.
void after_agreement(State& state) {
  CallableControl control(0, static_cast<int>(state.range(0)), Echo(some_counts(state.range(0))));
  StepAgreement agreement(control, layout_of(state));
  agreement.post(Phase{.tokens = 100, .requests = 100, .forward = Forward::decode});
  const Step agreed = agreement.wait();
  Planner plan_step(state.range(0));
  measure(state, [&] { plan_step(agreed); });
}

/// Plan to the addresses that element work reads.
void write_counts(State& state) {
  const auto counts = some_counts(state.range(0));
  Plan made;
  make_plan(
      {layout_of(state), counts}, 0, ExactLen{},
      [](const StepLoad&) { return Transport::sum_len_peer_store; }, made);
  DeviceCounts<HostMemory> written(static_cast<int>(state.range(0)), 0);
  measure(state, [&] { written.write(made, HostStream{}); });
}

/// 12 fields, as attention backends have them.
struct Batch {
  std::vector<std::int64_t> input_ids, out_cache_loc, positions, token_types, lora_of_token, mask;
  std::vector<std::int64_t> req_pool_indices, seq_lens, seq_lens_sum, encoder_lens, accept_lens,
      sampling_seeds;

  static constexpr auto fields = batch_fields(
      token_field("input_ids", &Batch::input_ids),
      token_field("out_cache_loc", &Batch::out_cache_loc),
      token_field("positions", &Batch::positions), token_field("token_types", &Batch::token_types),
      token_field("lora_of_token", &Batch::lora_of_token), token_field("mask", &Batch::mask),
      request_field("req_pool_indices", &Batch::req_pool_indices),
      request_field("seq_lens", &Batch::seq_lens, {.fill = 1}),
      request_field("seq_lens_sum", &Batch::seq_lens_sum),
      request_field("encoder_lens", &Batch::encoder_lens),
      request_field("accept_lens", &Batch::accept_lens),
      request_field("sampling_seeds", &Batch::sampling_seeds));
};

/// 100 rows to 128, in place and back.
void pad(State& state) {
  constexpr std::int64_t rows = 100, len = 128;
  const std::int64_t ranks = state.range(0);
  CallableControl control(0, static_cast<int>(ranks),
                          Echo(std::vector<std::int64_t>(static_cast<std::size_t>(ranks), rows)));
  StepAgreement agreement(control, layout_of(state));
  agreement.post(Phase{.tokens = rows, .requests = rows, .forward = Forward::decode});
  const Step step = agreement.wait();
  const ShapeKey shape{.local_len = len,
                       .global_len = len * ranks,
                       .transport = Transport::max_len,
                       .forward = Forward::decode,
                       .is_static = true};
  Batch batch;
  for (auto* field :
       {&batch.input_ids, &batch.out_cache_loc, &batch.positions, &batch.token_types,
        &batch.lora_of_token, &batch.mask, &batch.req_pool_indices, &batch.seq_lens,
        &batch.seq_lens_sum, &batch.encoder_lens, &batch.accept_lens, &batch.sampling_seeds}) {
    field->reserve(len);
    field->assign(rows, 3);
  }
  InPlace storage;
  measure(state, [&] {
    const PaddedBatch padded{batch, step, shape, storage};
    benchmark::DoNotOptimize(padded.batch().input_ids.data());
  });
}

#define DPGATHER_BENCH(name) BENCHMARK(name)->RangeMultiplier(8)->Range(1, 4096)->Arg(1024)
DPGATHER_BENCH(step);
DPGATHER_BENCH(after_agreement);
DPGATHER_BENCH(agree);
DPGATHER_BENCH(copy_records);
DPGATHER_BENCH(rule);
DPGATHER_BENCH(plan);
DPGATHER_BENCH(key);
DPGATHER_BENCH(look_up);
DPGATHER_BENCH(write_counts);
DPGATHER_BENCH(pad);

}  // namespace

BENCHMARK_MAIN();
