// Several layers in one step, each with rows of its own, so that what a rank may overwrite too early
// is seen: a layer's global rows are looked at until the rank's own next gather.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include <dpgather/dp_gather.hpp>
#include <dpgather/graph_cache.hpp>

#include "property/row_values.hpp"
#include "support/ranks.hpp"

namespace test {

/// A layer's rows: those of step `step * 64 + layer`. The step is read when the work runs.
template <class T>
struct ProduceLayer {
  Rows<T> to;
  const StepWords* step;
  int layer, dp;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    for (std::int64_t j = lane; j < to.width(); j += lanes)
      to(i, j) = element<T>(true_value(step->index * 64 + layer, dp, i, j));
  }
};
template <class T>
struct CheckLayer {
  Rows<const T> all;
  CountsView counts;
  const StepWords* step;
  int layer;
  std::int64_t* wrong;
  DPGATHER_HD void operator()(std::int64_t at, int lane, int lanes) const {
    std::int64_t block = -1;
    for (std::int64_t d = 0; d < counts.blocks; ++d)
      if (at >= counts.offsets[d] && at < counts.offsets[d] + step->rows[d]) block = d;
    for (std::int64_t j = lane; j < all.width(); j += lanes) {
      const int want =
          block < 0 ? 0
                    : true_value(step->index * 64 + layer, block, at - counts.offsets[block], j);
      if (!is(all(at, j), want)) *wrong = at + 1;
    }
  }
};
template <class T>
struct CheckLayerOut {
  Rows<const T> out;
  CountsView counts;
  const StepWords* step;
  int layer, dp, world;
  std::int64_t* wrong;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    for (std::int64_t j = lane; j < out.width(); j += lanes) {
      int factor = 0;
      for (int r = 0; r < world; ++r) factor += weight(r, j);
      const int want =
          i < step->rows[dp] ? true_value(step->index * 64 + layer, dp, i, j) * factor : 0;
      if (!is(out(i, j), want)) *wrong = 1000 + i;
    }
  }
};

/// What a model's layers do with a gather: `gathers` of them in a step, of which every one but each
/// third ends with a reduce_scatter, and some of those with two.
template <class Mode, class T, class Comm, class Backend>
class Layers {
 public:
  using Memory = typename Comm::memory_type;
  using Stream = typename Memory::stream_type;

  Layers(RankOf<Comm>& rank, std::int64_t size, int gathers, std::int64_t hidden = 3, int hosts = 1)
      : rank_(rank),
        gathers_(gathers),
        size_(size),
        gather_(rank.comm,
                {.layout = rank.layout, .hidden = hidden, .max_local_rows = size, .hosts = hosts}),
        graphs_(CaptureSizes({size})),
        rows_(size * hidden),
        out_(size * hidden),
        now_(1),
        wrong_(1),
        hidden_(hidden) {
    *wrong_.data() = 0;
  }

  /// All at one captured shape.
  void step(std::int64_t index, const std::vector<std::int64_t>& rows) {
    const std::int64_t n = rows[static_cast<std::size_t>(rank_.dp())];
    StepWords words{.index = index};
    std::copy(rows.begin(), rows.end(), words.rows);
    launch(rank_.stream, "step_words", 1, WriteStep{words, now_.data()});
    const Step step = rank_.agree(
        {.tokens = n, .requests = n, .forward = n > 0 ? Forward::decode : Forward::idle});
    const ShapeKey shape = graphs_.select(step, gather_);
    gather_.begin_step(step, shape, rank_.stream);
    graphs_.run(step, shape, rank_.stream, rank_.agreement,
                [this](const ShapeKey& key, Stream stream) { forward(key, stream); });
  }
  /// Not every step: ranks may run ahead.
  void check() {
    if constexpr (requires { rank_.comm.synchronize(rank_.stream); })
      rank_.comm.synchronize(rank_.stream, [this] { rank_.agreement.check(); });
    gather_.status();
    expect(*wrong_.data() == 0, "rank ", rank_.rank(), " found wrong ", *wrong_.data());
  }
  [[nodiscard]] const GraphStatistics& statistics() const { return graphs_.statistics(); }
  [[nodiscard]] RowsMoved moved() const { return gather_.moved(); }

 private:
  void forward(const ShapeKey& shape, Stream stream) {
    for (int layer = 0; layer < gathers_; ++layer) {
      const Rows<T> rows = rows_.rows(shape.local_len, hidden_);
      launch(stream, "produce", rows.rows(), ProduceLayer<T>{rows, now_.data(), layer, rank_.dp()});
      const Rows<T> all = gather_.gather(shape, rows, stream);
      look(all, layer, stream);
      for (int back = 0; back < layer % 3; ++back) {
        const Rows<T> partial = gather_.partial_slot(shape);
        launch(stream, "ffn", partial.rows(),
               Ffn<T>{all, partial, gather_.counts(), rank_.rank(), rank_.layout.world(), true});
        const Rows<T> out = out_.rows(shape.local_len, hidden_);
        gather_.reduce_scatter(shape, partial, out, stream);
        launch(stream, "check_out", out.rows(),
               CheckLayerOut<T>{out, gather_.counts(), now_.data(), layer, rank_.dp(),
                                rank_.layout.world(), wrong_.data()});
        look(all, layer, stream);
      }
    }
  }
  void look(Rows<const T> all, int layer, Stream stream) {
    launch(stream, "look", all.rows(),
           CheckLayer<T>{all, gather_.counts(), now_.data(), layer, wrong_.data()});
  }

  RankOf<Comm>& rank_;
  int gathers_;
  std::int64_t size_;
  DpGather<Mode, T, Comm> gather_;
  GraphCache<ShapeKey, CaptureSizes, KeepAll, Backend> graphs_;
  Buffer<T, Memory> rows_, out_;
  Buffer<StepWords, Memory> now_;
  Buffer<std::int64_t, typename Memory::visible_type> wrong_;
  std::int64_t hidden_;
};

/// Rows of each of `dp` ranks, at most `size`: some have none, some are full.
inline std::vector<std::int64_t> draw_rows(std::mt19937_64& random, int dp, std::int64_t size) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(dp));
  for (auto& n : rows)
    n = random() % 4 == 0
            ? 0
            : static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size + 1));
  rows[random() % rows.size()] = size;  // one shape for all steps
  return rows;
}

}  // namespace test
