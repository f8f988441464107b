// One rank that serves as an engine does, on a GPU: batch, agreement, padding, graphs, gather, FFN,
// way back, every row and the restored batch checked.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <dpgather/cuda.hpp>

#include "property/row_values.hpp"
#include "sim/launch.hpp"
#include "support/device_ranks.hpp"
#include "support/transfer_cuda.hpp"

namespace test {

struct DeviceBatch {
  BatchField<std::int64_t> ids;       // [tokens]
  BatchField<std::int32_t> seq_lens;  // [requests]
  std::int64_t batch_size = 0;

  static constexpr auto fields = batch_fields(
      request_count("batch_size", &DeviceBatch::batch_size), token_field("ids", &DeviceBatch::ids),
      request_field("seq_lens", &DeviceBatch::seq_lens, {.fill = 1}));
};

constexpr std::int64_t not_mine = -77;  // what lies behind a batch in its buffers

DPGATHER_HD constexpr std::int64_t id_of(std::int64_t step, std::int64_t dp, std::int64_t i) {
  return (step * 64 + dp) * 64 + i + 1;
}
DPGATHER_HD constexpr float hidden_of(std::int64_t id, std::int64_t j) {
  return static_cast<float>((id * 7 + id / 64 + j * 3) % 9);
}

struct WriteBatch {
  std::int64_t* ids;
  std::int32_t* lens;
  std::int64_t step, dp, n;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int) const {
    if (lane != 0) return;
    ids[i] = i < n ? id_of(step, dp, i) : not_mine;
    lens[i] = i < n ? static_cast<std::int32_t>(i + 2) : static_cast<std::int32_t>(not_mine);
  }
};
/// Stands for attention: reads the batch, writes hidden states. A padded request has length 1.
struct Attend {
  const std::int64_t* ids;
  const std::int32_t* lens;
  Rows<float> to;
  std::int64_t* wrong;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    if (lens[i] < 1 || ids[i] == not_mine) *wrong = -2;
    for (std::int64_t j = lane; j < to.width(); j += lanes) to(i, j) = hidden_of(ids[i], j);
  }
};
struct CheckServed {
  Rows<const float> all;
  CountsView counts;
  const StepWords* step;
  std::int64_t* wrong;
  DPGATHER_HD void operator()(std::int64_t at, int lane, int lanes) const {
    std::int64_t block = -1;
    for (std::int64_t d = 0; d < counts.blocks; ++d) {
      if (counts.valid[d] != step->rows[d]) *wrong = -1;
      const std::int64_t i = at - counts.offsets[d];
      if (i >= 0 && i < step->rows[d]) block = d;
    }
    for (std::int64_t j = lane; j < all.width(); j += lanes) {
      const float want =
          block < 0 ? 0 : hidden_of(id_of(step->index, block, at - counts.offsets[block]), j);
      if (!(all(at, j) == want)) *wrong = at + 1;
    }
  }
};

template <class Mode, class Comm, class Eviction = KeepAll>
class Serving {
 public:
  static constexpr std::int64_t capacity = 12, width = 3;
  using Graphs = GraphCache<ShapeKey, CaptureSizes, Eviction, CudaGraphs>;

  Serving(RankOf<Comm>& rank, bool graphs, Mode mode = {}, Eviction eviction = {}, int hosts = 1)
      : rank_(rank),
        use_graphs_(graphs),
        mode_(mode),
        hosts_(hosts),
        graphs_(CaptureSizes::sglang(8), eviction),
        static_inputs_({.tokens = capacity, .requests = capacity}),
        ids_(capacity),
        lens_(capacity),
        out_(capacity * width),
        now_(1),
        wrong_(1) {
    *wrong_.data() = 0;
    renew();
  }

  /// A gather made anew, as after a communicator was re-created: other buffers.
  void renew() {
    rank_.comm.synchronize(rank_.stream);
    const Buffer<float, DeviceMemory> between(64);  // so that addresses differ
    gather_.reset();
    gather_.emplace(
        rank_.comm,
        GatherConfig{.layout = rank_.layout, .hidden = width, .max_local_rows = 8, .hosts = hosts_},
        mode_);
  }
  /// `rows` of each DP rank, at most 8 of each.
  void step(std::int64_t index, const std::vector<std::int64_t>& rows) {
    const std::int64_t n = rows[static_cast<std::size_t>(rank_.dp())];
    batch = {.ids = {.data = ids_.data(), .len = n, .capacity = capacity},
             .seq_lens = {.data = lens_.data(), .len = n, .capacity = capacity},
             .batch_size = n};
    StepWords words{.index = index};
    std::copy(rows.begin(), rows.end(), words.rows);
    launch(rank_.stream, "step_words", 1, WriteStep{words, now_.data()});
    launch(rank_.stream, "write_batch", capacity,
           WriteBatch{ids_.data(), lens_.data(), index, rank_.dp(), n});
    const Step step = rank_.agree(
        {.tokens = n, .requests = n, .forward = n > 0 ? Forward::decode : Forward::idle});
    const ShapeKey shape =
        use_graphs_ ? graphs_.select(step, *gather_) : gather_->exact_shape(step);
    gather_->begin_step(step, shape, rank_.stream);
    if (shape.is_static)
      serve(step, shape, static_inputs_, rows);
    else
      serve(step, shape, in_place_, rows);
    expect(restored(n), "step ", index, ": the batch was not restored on rank ", rank_.rank());
    expect(tail_is_whole(n), "step ", index, ": what lies behind the batch changed on rank ",
           rank_.rank());
  }
  /// What the host sees of the caller's batch is as it was.
  [[nodiscard]] bool restored(std::int64_t n) const {
    return batch.ids.data == ids_.data() && batch.ids.len == n && batch.seq_lens.len == n &&
           batch.batch_size == n;
  }
  [[nodiscard]] Graphs& graphs() { return graphs_; }
  [[nodiscard]] DpGather<Mode, float, Comm>& gather() { return *gather_; }
  /// Makes the body throw while it is captured.
  bool spoils_partial = false;  ///< writes its partial sums anew as soon as they are given back
  bool fail_capture = false;

  DeviceBatch batch;

 private:
  template <class Storage>
  void serve(const Step& step, const ShapeKey& shape, Storage& storage,
             const std::vector<std::int64_t>& rows) {
    const PaddedBatch<DeviceBatch, PadToShape, TrimView, Storage> padded{
        batch, step, shape, storage, {.stream = rank_.stream}};
    graphs_.run(step, shape, rank_.stream, rank_.agreement,
                [this, on = &padded.batch()](const ShapeKey& key, CudaStream stream) {
                  if (fail_capture && stream.capturing())
                    throw std::runtime_error("no capture today");
                  forward(key, stream, *on);
                });
    rank_.comm.synchronize(rank_.stream, [this] { rank_.agreement.check(); });
    gather_->status();
    expect(*wrong_.data() == 0, "step ", step.index(), ": rank ", rank_.rank(), " found wrong ",
           *wrong_.data(), " at shape ", shape.to_string());
    check_out(step, shape, rows);
  }

  void forward(const ShapeKey& shape, CudaStream stream, const DeviceBatch& on) {
    const Rows<float> slot = gather_->slot(shape);
    launch(stream, "attention", slot.rows(),
           Attend{on.ids.data, on.seq_lens.data, slot, wrong_.data()});
    const Rows<float> all = gather_->gather(shape, slot, stream);
    launch(stream, "check", all.rows(),
           CheckServed{all, gather_->counts(), now_.data(), wrong_.data()});
    const Rows<float> partial = gather_->partial_slot(shape);
    launch(stream, "ffn", partial.rows(),
           Ffn<float>{all, partial, gather_->counts(), rank_.rank(), rank_.layout.world(), true});
    launch(stream, "poison", out_.size(), Poison<float>{out_.data()});
    gather_->reduce_scatter(shape, partial, Rows<float>(out_.data(), shape.local_len, width),
                            stream);
    if (spoils_partial) launch(stream, "spoil", partial.size(), Poison<float>{partial.data()});
  }

  void check_out(const Step& step, const ShapeKey& shape, const std::vector<std::int64_t>& rows) {
    std::vector<float> out(static_cast<std::size_t>(out_.size()));
    download(static_cast<const float*>(out_.data()), std::span<float>(out), rank_.stream);
    const std::int64_t n = rows[static_cast<std::size_t>(rank_.dp())];
    for (std::int64_t i = 0; i < shape.local_len; ++i)
      for (std::int64_t j = 0; j < width; ++j) {
        int factor = 0;
        for (int r = 0; r < rank_.layout.world(); ++r) factor += weight(r, j);
        const float want =
            i < n ? hidden_of(id_of(step.index(), rank_.dp(), i), j) * static_cast<float>(factor)
                  : 0.0f;
        expect(out[static_cast<std::size_t>(i * width + j)] == want, "step ", step.index(),
               ": output row ", i, " of ", n, " is wrong on rank ", rank_.rank());
      }
  }
  [[nodiscard]] bool tail_is_whole(std::int64_t n) const {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(capacity));
    download(static_cast<const std::int64_t*>(ids_.data()), std::span<std::int64_t>(ids),
             rank_.stream);
    return std::all_of(ids.begin() + n, ids.end(), [](std::int64_t id) { return id == not_mine; });
  }

  RankOf<Comm>& rank_;
  bool use_graphs_;
  Mode mode_;
  int hosts_;
  std::optional<DpGather<Mode, float, Comm>> gather_;
  Graphs graphs_;
  BasicInPlace<DeviceMemory> in_place_;
  StaticInputs<DeviceBatch, DeviceMemory> static_inputs_;
  Buffer<std::int64_t, DeviceMemory> ids_;
  Buffer<std::int32_t, DeviceMemory> lens_;
  Buffer<float, DeviceMemory> out_;
  Buffer<StepWords, DeviceMemory> now_;
  Buffer<std::int64_t, PinnedMemory> wrong_;
};

}  // namespace test
