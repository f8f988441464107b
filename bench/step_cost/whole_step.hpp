// Steps as a model has them, by any mode and rule.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/dp_gather.hpp>
#include <dpgather/padded_batch.hpp>

#include "contender.hpp"

namespace step_cost {

/// The fields of a batch as a model has them.
struct Batch {
  std::vector<std::int64_t> input_ids, positions;  ///< [tokens]
  std::vector<std::int64_t> seq_lens;              ///< [requests]

  /// Room for the pads too.
  explicit Batch(std::int64_t most) {
    for (auto* field : {&input_ids, &positions, &seq_lens})
      field->reserve(static_cast<std::size_t>(most));
  }
  void resize(std::int64_t tokens) {
    for (auto* field : {&input_ids, &positions, &seq_lens})
      field->resize(static_cast<std::size_t>(tokens), 7);
  }
  static constexpr auto fields =
      dpgather::batch_fields(dpgather::token_field("input_ids", &Batch::input_ids),
                             dpgather::token_field("positions", &Batch::positions),
                             dpgather::request_field("seq_lens", &Batch::seq_lens, {.fill = 1}));
};

/// Agrees, pads, gathers, and brings sums back: all of a step but attention and FFN. Rows of the
/// gather lie in its slot, as a producer leaves them there. Before each way ranks write what they
/// send, unless it is to stay in everybody's caches, and meet; that is not timed.
template <class Mode, class Comm, class Control, class Barrier>
class WholeStep {
  using T = dpgather::bf16;

 public:
  WholeStep(Comm& comm, Control& control, const dpgather::GatherConfig& config, Mode mode,
            const Barrier& barrier, bool rewrites)
      : rank_(static_cast<std::size_t>(comm.rank())),
        hidden_(config.hidden),
        barrier_(barrier),
        batch_(config.max_local_rows),
        agreement_(control, config.layout),
        gather_(comm, config, std::move(mode)),
        out_(config.max_local_rows * config.hidden) {
    // Memory that nobody has written is all one page of zeros, read faster than any other.
    rewrites_ = true;
    run(Rows(static_cast<std::size_t>(config.layout.dp), config.max_local_rows));
    rewrites_ = rewrites;
  }

  /// Seconds.
  double run(const Rows& rows) {
    using namespace dpgather;
    const std::int64_t own = rows[rank_];
    batch_.resize(own);
    Stopwatch watch;
    agreement_.post(
        {.tokens = own, .requests = own, .forward = own > 0 ? Forward::decode : Forward::idle});
    const Step step = agreement_.wait();
    const ShapeKey shape = gather_.exact_shape(step);
    PaddedBatch padded{batch_, step, shape, storage_};
    gather_.begin_step(step, shape, {});
    const auto slot = gather_.slot(shape).slice(0, own);
    watch.pause([&] { produce(slot); });
    static_cast<void>(gather_.gather(shape, slot, {}));
    const auto partial = gather_.partial_slot(shape);
    watch.pause([&] { produce(partial); });
    gather_.reduce_scatter(shape, partial, out_.rows(own, hidden_), {});
    return watch.seconds();
  }
  [[nodiscard]] dpgather::ChoiceCounts choices() const { return gather_.choices(); }

 private:
  void produce(dpgather::Rows<T> rows) const {
    if (!rewrites_) return;
    std::fill_n(rows.data(), rows.size(), T(1.0F));
    barrier_();
  }

  std::size_t rank_;
  std::int64_t hidden_;
  Barrier barrier_;
  bool rewrites_;
  Batch batch_;
  dpgather::InPlace storage_;
  dpgather::StepAgreement<Control> agreement_;
  dpgather::DpGather<Mode, T, Comm> gather_;
  dpgather::Buffer<T> out_;
};

template <class Mode, class Comm, class Control, class Barrier>
Contender whole_step(std::string name, Comm& comm, Control& control,
                     const dpgather::GatherConfig& config, Mode mode, const Barrier& barrier,
                     bool rewrites) {
  const auto step = std::make_shared<WholeStep<Mode, Comm, Control, Barrier>>(
      comm, control, config, std::move(mode), barrier, rewrites);
  return {.name = std::move(name),
          .run = [step](const Rows& rows) { return step->run(rows); },
          .choices = [step] { return step->choices(); }};
}

}  // namespace step_cost
