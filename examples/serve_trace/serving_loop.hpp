// One rank's serving loop: agree, plan, pad, gather, FFN, reduce-scatter, trim, check.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/dp_gather.hpp>
#include <dpgather/graph_cache.hpp>
#include <dpgather/padded_batch.hpp>

#include "batch.hpp"
#include "ffn.hpp"
#include "figures.hpp"
#include "graph_sizes.hpp"
#include "hooks.hpp"
#include "notice.hpp"
#include "platform.hpp"
#include "reference.hpp"
#include "replay.hpp"

namespace serve_trace {

/// All arguments must outlive the loop; `comm` and `control` are of all ranks. The model runs where
/// `comm` moves rows, on `stream`.
template <dpgather::GatherMode Mode, dpgather::Communicator Comm, dpgather::ControlPlane Control>
class ServingLoop {
  using On = Platform<typename Comm::memory_type>;
  using Rows = dpgather::Rows<float>;
  using Stream = typename On::Stream;
  using ModelBatch = typename On::BatchType;

 public:
  ServingLoop(const Options& options, const Trace& trace, Comm& comm, Control& control, Mode mode,
              const Hooks& hooks, Stream stream = {})
      : options_(options),
        layout_(options.layout()),
        comm_(comm),
        control_(control),
        hooks_(hooks),
        rank_(comm.rank()),
        dp_rank_(layout_.dp_rank(rank_)),
        max_local_(max_local_rows(options)),
        replay_(trace, options, dp_rank_),
        weights_(options.hidden, options.seed),
        ffn_(weights_, rank_, layout_.world(), max_local_ * layout_.dp),
        reference_(weights_),
        gather_(comm,
                {.layout = layout_,
                 .hidden = options.hidden,
                 .max_local_rows = max_local_,
                 .hosts = options.hosts},
                std::move(mode)),
        input_(max_local_),
        static_inputs_({.tokens = max_local_, .requests = max_local_}),
        output_(max_local_ * options.hidden),
        graphs_(graph_sizes(options), {.budget = {.graphs = options.graphs}}),
        agreement_(control, layout_, {.policy = fingerprint(trace)}),
        stream_(stream),
        accounting_(options) {}

  /// Serves to the end. The figures, complete on every rank, have rows moved and graphs as counted
  /// and not as planned.
  Figures run() {
    while (options_.steps == 0 || step_ + 1 < options_.steps)
      if (!serve_step()) break;
    return collect();
  }

 private:
  /// False: no rank has anything left to do, and this was no step.
  bool serve_step() {
    const Work& work = replay_.next();
    const Notice mine{.prefill_rows = work.prefill_rows, .idle = work.rows() == 0};
    agreement_.post({.tokens = work.rows(),
                     .requests = work.requests(),
                     .logits = work.requests(),
                     .forward = work.forward()},
                    mine.bytes());
    const dpgather::Step step = agreement_.wait();
    StepFacts facts{.counts = step.tokens(),
                    .forward = step.forward(),
                    .admitted = replay_.admitted(),
                    .live = replay_.live()};
    bool idle = true;
    for (int rank = 0; rank < layout_.world(); rank += layout_.attn_tp) {
      const Notice notice = Notice::from(step.user(rank));
      facts.prefill_rows += notice.prefill_rows;
      idle = idle && notice.idle == 1;
    }
    if (idle && !facts.live) return false;
    step_ = step.index();
    ModelBatch& batch = input_.load(work, step_, dp_rank_, stream_);
    const dpgather::ShapeKey shape = graphs_.select(step, gather_);
    if (shape.is_static)
      run_model(step, shape, work, batch, static_inputs_);
    else
      run_model(step, shape, work, batch, in_place_);
    account(facts, shape);
    if (rank_ == 0 && hooks_.on_step) hooks_.on_step(step_ + 1, accounting_.rows());
    return true;
  }

  /// Pads the batch, runs the model through the graph cache, and checks the rows that come back.
  template <class Storage>
  void run_model(const dpgather::Step& step, const dpgather::ShapeKey& shape, const Work& work,
                 ModelBatch& batch, Storage& storage) {
    using PadOptions = dpgather::PadOptions<dpgather::PadToShape, dpgather::TrimView, Stream>;
    dpgather::PaddedBatch padded{batch, step, shape, storage, PadOptions{.stream = stream_}};
    gather_.begin_step(step, shape, stream_);
    graphs_.run(
        step, shape, stream_, agreement_,
        [this, padded_batch = &padded.batch()](const dpgather::ShapeKey& key, Stream stream) {
          forward(key, stream, *padded_batch);
        });
    most_graphs_ = std::max(most_graphs_, graphs_.size());
    const Rows output = padded.trim(output_rows(shape));
    output_.download(output.size(), stream_);
    On::wait(comm_, control_, stream_);
    gather_.status();
    checked_rows_ += output.rows();
    wrong_rows_ += reference_.wrong_rows(work, step_, dp_rank_, decode_only(shape),
                                         Rows(output_.host(), output.rows(), output.width()));
  }

  /// One layer. Captured once per shape: what varies from step to step is read when it runs.
  void forward(const dpgather::ShapeKey& shape, Stream stream, const ModelBatch& batch) {
    if (shape.is_static) static_inputs_.hold(stream);
    const Rows hidden = gather_.slot(shape);
    On::work(stream, "attention",
             [=, this, ids = elements(batch.input_ids), positions = elements(batch.positions),
              seq_lens = elements(batch.seq_lens)] {
               const bool lens = decode_only(shape);
               for (std::int64_t i = 0; i < hidden.rows(); ++i)
                 fill_row(ids[i], positions[i], lens ? seq_lens[i] : 0, hidden.row(i),
                          options_.hidden);
             });
    tamper(Stage::produced, hidden, stream);
    const Rows all = gather_.gather(shape, hidden, stream);
    tamper(Stage::gathered, all, stream);
    const Rows partial = gather_.partial_slot(shape);
    On::work(stream, "ffn", [this, all, partial] { ffn_.run(all, partial); });
    tamper(Stage::computed, partial, stream);
    const Rows output = output_rows(shape);
    gather_.reduce_scatter(shape, partial, output, stream);
    tamper(Stage::returned, output, stream);
  }

  void tamper(Stage stage, Rows rows, Stream stream) {
    if (!hooks_.tamper) return;
    On::work(stream, "tamper", [this, stage, rows] { hooks_.tamper(stage, rank_, step_, rows); });
  }

  /// This rank's output of a step, where the model writes it.
  [[nodiscard]] Rows output_rows(const dpgather::ShapeKey& shape) const {
    return {output_.data(), shape.local_len, options_.hidden};
  }

  /// One sequence length a row, since a row is a request.
  [[nodiscard]] static bool decode_only(const dpgather::ShapeKey& shape) {
    return !is_prefill(shape.forward);
  }

  void account(const StepFacts& facts, const dpgather::ShapeKey& shape) {
    accounting_.add(facts);
    launched_.computed += shape.global_len;
    if (decode_only(shape) && facts.live) {
      launched_.decode_computed += shape.global_len;
      launched_.decode_attention += shape.local_len;
    }
  }

  /// Adds up over ranks what only a rank itself knows.
  Figures collect() {
    const dpgather::RowsMoved moved = gather_.moved();
    const std::int64_t mine[] = {checked_rows_, wrong_rows_, launched_.decode_attention,
                                 static_cast<std::int64_t>(moved.out),
                                 static_cast<std::int64_t>(moved.back)};
    const typename On::template Elements<std::int64_t> sums(std::ssize(mine));
    std::copy(std::begin(mine), std::end(mine), sums.host());
    sums.upload(std::ssize(mine), stream_);
    comm_.all_reduce(sums.data(), sums.data(), std::ssize(mine), stream_);
    sums.download(std::ssize(mine), stream_);
    On::wait(comm_, control_, stream_);
    const std::int64_t* const totals = sums.host();
    // One rank alone may have moved parts of a row.
    const std::int64_t elements = layout_.world() * options_.hidden;
    Figures figures = accounting_.figures();
    figures.checked_rows = totals[0];
    figures.wrong_rows = totals[1];
    figures.launched = launched_;
    figures.launched.decode_attention = totals[2] / layout_.attn_tp;
    figures.launched.moved_out = totals[3] / elements;
    figures.launched.moved_back = totals[4] / elements;
    figures.graphs = graph_figures(graphs_.statistics(), graphs_.size(), most_graphs_);
    figures.choices = choice_figures(gather_.choices());
    return figures;
  }

  /// Of everything that must be alike on all ranks.
  [[nodiscard]] std::uint64_t fingerprint(const Trace& trace) const {
    return dpgather::Hash{}
        .add(gather_.fingerprint())
        .add(graphs_.fingerprint())
        .add(trace.fingerprint())
        .add(options_.serve)
        .add(options_.chunk)
        .add(options_.max_running)
        .add(options_.step_ms)
        .add(options_.speedup)
        .add(options_.steps)
        .add(options_.seed)
        .value();
  }

  const Options& options_;
  dpgather::DpLayout layout_;
  Comm& comm_;
  Control& control_;
  const Hooks& hooks_;
  int rank_, dp_rank_;
  std::int64_t max_local_;
  RankReplay replay_;
  FfnWeights weights_;
  FfnShard ffn_;
  Reference reference_;
  dpgather::DpGather<Mode, float, Comm> gather_;
  typename On::Input input_;
  dpgather::BasicInPlace<typename Comm::memory_type> in_place_;
  dpgather::StaticInputs<ModelBatch, typename Comm::memory_type> static_inputs_;
  typename On::template Elements<float> output_;
  dpgather::GraphCache<dpgather::ShapeKey, GraphSizes, dpgather::LeastRecentlyUsed,
                       typename On::Graphs>
      graphs_;
  dpgather::StepAgreement<Control> agreement_;
  Stream stream_;
  std::int64_t step_ = -1;
  std::size_t most_graphs_ = 0;
  Accounting accounting_;
  RowFigures launched_;
  std::int64_t checked_rows_ = 0, wrong_rows_ = 0;
};

}  // namespace serve_trace
