// Those who run every step: gathers by each mode and rule, and what no gather can be faster than.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/dp_gather.hpp>
#include <dpgather/padded_batch.hpp>

namespace step_cost {

using Rows = std::vector<std::int64_t>;  ///< of the ranks

struct Contender {
  std::string name;
  std::function<void(const Rows&)> run;
  /// Steps by the reason of their transport; null where there is no choice.
  std::function<dpgather::ChoiceCounts()> choices = {};
  double seconds = 0;               ///< of this pass, on this rank
  std::vector<double> passes = {};  ///< of the slowest rank
};

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
/// gather lie in its slot, as a producer leaves them there.
template <class Mode, class Comm, class Control>
class WholeStep {
  using T = dpgather::bf16;

 public:
  WholeStep(Comm& comm, Control& control, const dpgather::GatherConfig& config, Mode mode)
      : rank_(static_cast<std::size_t>(comm.rank())),
        hidden_(config.hidden),
        batch_(config.max_local_rows),
        agreement_(control, config.layout),
        gather_(comm, config, std::move(mode)),
        out_(config.max_local_rows * config.hidden) {}

  void run(const Rows& rows) {
    using namespace dpgather;
    const std::int64_t own = rows[rank_];
    batch_.resize(own);
    agreement_.post(
        {.tokens = own, .requests = own, .forward = own > 0 ? Forward::decode : Forward::idle});
    const Step step = agreement_.wait();
    const ShapeKey shape = gather_.exact_shape(step);
    PaddedBatch padded{batch_, step, shape, storage_};
    gather_.begin_step(step, shape, {});
    static_cast<void>(gather_.gather(shape, gather_.slot(shape).slice(0, own), {}));
    gather_.reduce_scatter(shape, gather_.partial_slot(shape), out_.rows(own, hidden_), {});
  }
  [[nodiscard]] dpgather::ChoiceCounts choices() const { return gather_.choices(); }

 private:
  std::size_t rank_;
  std::int64_t hidden_;
  Batch batch_;
  dpgather::InPlace storage_;
  dpgather::StepAgreement<Control> agreement_;
  dpgather::DpGather<Mode, T, Comm> gather_;
  dpgather::Buffer<T> out_;
};

template <class Mode, class Comm, class Control>
Contender whole_step(std::string name, Comm& comm, Control& control,
                     const dpgather::GatherConfig& config, Mode mode) {
  const auto step =
      std::make_shared<WholeStep<Mode, Comm, Control>>(comm, control, config, std::move(mode));
  return {.name = std::move(name),
          .run = [step](const Rows& rows) { step->run(rows); },
          .choices = [step] { return step->choices(); }};
}

/// The bytes of a step that this rank reads and writes, between private buffers and without meeting
/// anyone: the rows of all ranks, and then the sums of all ranks for its own rows.
inline Contender copies(std::size_t rank, std::int64_t max_global_rows, std::int64_t hidden) {
  const auto row = static_cast<std::size_t>(hidden) * sizeof(dpgather::bf16);
  const auto bytes = static_cast<std::size_t>(max_global_rows) * row;
  const auto from = std::make_shared<std::vector<std::byte>>(bytes);
  const auto to = std::make_shared<std::vector<std::byte>>(bytes);
  return {.name = "copies", .run = [=](const Rows& rows) {
            std::size_t at = 0;
            for (std::size_t i = 1; i < rows.size(); ++i) {  // its own lie in the slot
              const std::size_t n = static_cast<std::size_t>(rows[(rank + i) % rows.size()]) * row;
              std::memcpy(to->data() + at, from->data() + at, n);
              at += n;
            }
            const std::size_t own = static_cast<std::size_t>(rows[rank]) * row;
            for (std::size_t i = 0; i < rows.size(); ++i)
              std::memcpy(to->data() + i * own, from->data() + i * own, own);
          }};
}

}  // namespace step_cost
