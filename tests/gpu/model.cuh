// One layer over a gather, with rows that tell where they came from: what the graph tests run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <doctest/doctest.h>

#include "gpu/ranks.cuh"
#include "property/whole_path.hpp"
#include "support/transfer_cuda.hpp"

namespace gpu {

using test::expect;

/// Counts of a step, one a DP rank, at least 1 in all and at most `most` each; the same on all ranks.
inline std::vector<std::int64_t> counts_of(const DpLayout& layout, std::int64_t step,
                                           std::int64_t most) {
  std::vector<std::int64_t> counts;
  for (int d = 0; d < layout.dp; ++d)
    counts.push_back(static_cast<std::int64_t>(Hash{}.add(step).add(d).value() %
                                               static_cast<std::uint64_t>(most + 1)));
  auto& one = counts[static_cast<std::size_t>(step % layout.dp)];
  one = std::max<std::int64_t>(one, 1);
  return counts;
}

template <class Comm>
class Model {
  using T = float;

 public:
  static constexpr std::int64_t hidden = 24, most = 16;

  Model(test::RankOf<Comm>& rank, Transport transport)
      : rank_(rank),
        gather_(rank.comm, {.layout = rank.layout, .hidden = hidden, .max_local_rows = most},
                test::AnyMode{transport}),
        input_(most * hidden),
        output_(most * hidden),
        now_(1),
        wrong_(1) {
    *wrong_.data() = 0;
  }

  [[nodiscard]] DpGather<test::AnyMode, T, Comm>& gather() { return gather_; }
  [[nodiscard]] test::RankOf<Comm>& rank() { return rank_; }

  /// Agrees on a decode step of these counts.
  Step agree(const std::vector<std::int64_t>& counts) {
    const std::int64_t own = counts[static_cast<std::size_t>(rank_.dp())];
    return rank_.agree(
        {.tokens = own, .requests = own, .forward = own > 0 ? Forward::decode : Forward::idle});
  }
  /// Begins the step and leaves this rank's rows where `forward` takes them. All else is NaN.
  void begin(const Step& step, const ShapeKey& shape, CudaStream stream) {
    gather_.begin_step(step, shape, stream);
    test::StepWords words{.index = step.index()};
    for (std::size_t d = 0; d < step.tokens().size(); ++d) words.rows[d] = step.tokens()[d];
    launch(stream, "step_words", 1, test::WriteStep{words, now_.data()});
    for (auto* buffer : {&input_, &output_})
      launch(stream, "poison", buffer->size(), test::Poison<T>{buffer->data()});
    launch(stream, "produce", step.own_tokens(),
           test::Produce<T>{input_.rows(most, hidden), step.index(), rank_.dp(), rank_.tp(),
                            rank_.layout.attn_tp, false});
  }
  /// What is captured: gather, a check of all that came, an "FFN", and the way back.
  void forward(const ShapeKey& shape, CudaStream stream) {
    const Rows<T> all = gather_.gather(shape, input_.rows(shape.local_len, hidden), stream);
    launch(stream, "check_gathered", all.rows(),
           test::CheckGathered<T>{all, gather_.counts(), now_.data(), wrong_.data()});
    const Rows<T> sums = gather_.partial_slot(shape);
    launch(stream, "ffn", sums.rows(),
           test::Ffn<T>{all, sums, gather_.counts(), rank_.rank(), rank_.layout.world(), true});
    gather_.reduce_scatter(shape, sums, output_.rows(shape.local_len, hidden), stream);
  }
  /// Of a step that was meant to go wrong.
  void forget_findings() { *wrong_.data() = 0; }
  /// Waits for the stream and compares every output row with a plain computation.
  void check(const Step& step, const ShapeKey& shape, CudaStream stream) {
    rank_.comm.synchronize(stream, [this] { rank_.agreement.check(); });
    gather_.status();
    expect(*wrong_.data() == 0, "step ", step.index(), ": rank ", rank_.rank(),
           " gathered a wrong row or count: ", *wrong_.data() - 1);
    std::vector<T> out(static_cast<std::size_t>(output_.size()));
    test::download(static_cast<const T*>(output_.data()), std::span<T>(out), stream);
    for (std::int64_t j = 0; j < hidden; ++j) {
      int factor = 0;
      for (int r = 0; r < rank_.layout.world(); ++r) factor += test::weight(r, j);
      for (std::int64_t i = 0; i < shape.local_len; ++i) {
        const int want =
            i < step.own_tokens() ? test::true_value(step.index(), rank_.dp(), i, j) * factor : 0;
        expect(test::is(out[static_cast<std::size_t>(i * hidden + j)], want), "step ", step.index(),
               ": output row ", i, " of ", step.own_tokens(), " is wrong on rank ", rank_.rank());
      }
    }
  }

 private:
  test::RankOf<Comm>& rank_;
  DpGather<test::AnyMode, T, Comm> gather_;
  Buffer<T, DeviceMemory> input_, output_;
  Buffer<test::StepWords, DeviceMemory> now_;
  Buffer<std::int64_t, PinnedMemory> wrong_;
};

using Graphs = GraphCache<ShapeKey, CaptureSizes, KeepAll, CudaGraphs>;

/// `f(Model&, transport)` on every rank, at every number of ranks, for each transport that a graph
/// can hold.
template <class Comm, class F>
void with_models(const F& f) {
  for (const Transport transport : {Transport::max_len, Transport::sum_len_all_reduce})
    for (const int ranks : sizes<Comm>()) {
      // Inside graphs streams wait for each other, so that they must run at the same time.
      if (short_run() && ranks > 1) continue;
      const std::string at = concat(ranks, " ranks, ", name(transport));
      INFO(at);
      CHECK_NOTHROW(on_ranks<Comm>({.dp = ranks}, [&](auto& rank) {
        Model<Comm> model(rank, transport);
        abort_on_error(rank.comm, [&] { f(model, transport); });
      }));
    }
}

}  // namespace gpu
