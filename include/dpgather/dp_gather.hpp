// DpGather: uneven rows of all DP ranks into one global buffer, and results back to their ranks.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include <dpgather/agree/step.hpp>
#include <dpgather/comm/argument_checks.hpp>
#include <dpgather/comm/communicator.hpp>
#include <dpgather/comm/thread/thread_comm.hpp>
#include <dpgather/core/range.hpp>
#include <dpgather/exchange/auto_mode.hpp>
#include <dpgather/exchange/context.hpp>
#include <dpgather/exchange/dispatch.hpp>
#include <dpgather/exchange/gather_config.hpp>
#include <dpgather/exchange/gather_parts.hpp>
#include <dpgather/exchange/modes.hpp>
#include <dpgather/exchange/moved_counter.hpp>
#include <dpgather/exchange/reduction_check.hpp>
#include <dpgather/exchange/valid_rows.hpp>
#include <dpgather/plan/plan.hpp>

namespace dpgather {

/// One per rank. Every rank of the FFN group makes the same calls in the same order. Owns the
/// global buffer `[global_len, H]`, the partial-sum buffer of the same shape and a `[local_len, H]`
/// staging buffer at fixed addresses; keeps a reference to `ffn`. What `gather` returns is valid
/// until the next `gather`. The caller's rows are never changed. The constructor is collective where
/// A > 1 (it splits the attention-TP group off), where the communicator registers buffers, where
/// ranks store into their peers' buffers, and where they go by hosts; between processes (IpcComm) the
/// destructor is as well.
///
/// Shapes come from `exact_shape` (eager) or are capture sizes (`is_static`). Calls with a static
/// shape may be captured: they depend on the shape and on what `begin_step` wrote, on nothing else.
template <GatherMode Mode, Element T = float, Communicator Comm = ThreadComm<>,
          RoundingPolicy Rounding = ExactLen>
class DpGather {
 public:
  using mode_type = Mode;
  using stream_type = typename Comm::memory_type::stream_type;
  static constexpr bool stores_to_peers = detail::stores_to_peers<Mode, Comm>;

  DpGather(Comm& ffn, const GatherConfig& config, Mode mode = {}, Rounding rounding = {})
      : ffn_(ffn),
        config_(config.settled(rounding, ffn.rank(), ffn.size())),
        mode_(std::move(mode)),
        rounding_(std::move(rounding)),
        counts_(config.layout.group_dp(), ffn.rank() / config.layout.attn_tp),
        reduction_check_(ffn.size(), Comm::checks >= CheckLevel::communicating),
        parts_(ffn, config_,
               Mode::may_use(Transport::sum_len_peer_store) && !Mode::may_use(Transport::max_len)),
        lifeline_(concat("DpGather of rank ", ffn.rank())) {
    if constexpr (!Mode::may_use(Transport::max_len) && stores_to_peers)
      parts_.check_transport(Mode::may_use(Transport::sum_len_peer_store)
                                 ? Transport::sum_len_peer_store
                                 : Transport::sum_len_hierarchical,
                             where("DpGather"));
  }
  DpGather(const DpGather&) = delete;
  DpGather& operator=(const DpGather&) = delete;

  /// Shape of an eager step: a pure function of the agreed counts (by MeasuredRule also of the steps
  /// begun before). Nothing is changed.
  [[nodiscard]] ShapeKey exact_shape(const Step& step) {
    plan_exact(step, scratch_);
    return scratch_.shape;
  }
  /// The transport a captured step would take, if any; the same on all ranks of the world, because
  /// it is judged on all DP ranks at once.
  [[nodiscard]] std::optional<Transport> static_transport(const Step& step) {
    return choose_static(step).transport;
  }

  /// Starts a step: before any captured part, on the stream that will run it. Writes the counts to
  /// fixed addresses. Throws CapacityError, on all ranks of the group alike and before anything is
  /// changed, if the step does not fit the shape or the buffers.
  const Plan& begin_step(const Step& step, const ShapeKey& shape, stream_type stream) {
    const detail::Range range("dpgather begin_step");
    const Choice choice =
        shape.is_static ? choose_static(step) : plan_exact(step, scratch_, &shape);
    if (shape.is_static)
      make_static_plan(step.plan_input(config_.axis, config_.phase), step.rank(), shape, scratch_);
    const ErrorContext where{step.rank(), step.index(), "begin_step"};
    require(scratch_.shape == shape, where, "shape is ", shape, ", the step's is ", scratch_.shape);
    config_.check_plan(scratch_, where);
    parts_.check_transport(shape.transport, where);
    counts_.write(scratch_, stream);
    detail::note_began(mode_, parts_.allowed(shape.is_static), choice);
    choices_.add(choice.transport == shape.transport ? choice.reason : ChoiceReason::given);
    std::swap(plan_, scratch_);
    step_ = step.index();
    lifeline_.set_step(step_);
    parts_.set_step(step_);
    if (config_.clean_slots && shape.transport == Transport::max_len)
      launch(stream, "clean_slot", shape.local_len,
             detail::SelectOwnRow<T>{slot(shape), slot(shape), 0, shape.local_len, counts_.view()});
    return plan_;
  }

  /// Where the producer may write its rows, `[local_len, H]`, so that `gather` copies nothing.
  /// Written after `begin_step`, before `gather`; pads need not be written.
  [[nodiscard]] Rows<T> slot(const ShapeKey& shape) {
    check_shape(shape, "slot", false);
    return detail::dispatch<Mode, Comm>(
        shape.transport, [&, this](auto transport) { return transport.slot(context(), shape); });
  }
  /// Where the FFN may leave its partial sums, `[global_len, H]`.
  [[nodiscard]] Rows<T> partial_slot(const ShapeKey& shape) {
    check_shape(shape, "partial_slot", false);
    return {parts_.partial(), shape.global_len, config_.hidden};
  }

  /// Rows of all ranks of the FFN group, `[global_len, H]`; block d starts at
  /// `counts().offsets[d]`, pads are zero. `local` is `[local_len, H]` or, eagerly, just the rows
  /// that exist; pads in it are not read.
  Rows<T> gather(const ShapeKey& shape, Rows<const T> local, stream_type stream,
                 Input kind = Input::replicate) {
    const detail::Range range("dpgather gather");
    check_shape(shape, "gather", stream.capturing());
    check_rows(local, "gather", shape.is_static ? shape.local_len : plan_.own_valid());
    stream.hold(lifeline_);
    detail::dispatch<Mode, Comm>(shape.transport, [&, this](auto transport) {
      moved_.count(parts_, stream, &RowsMoved::out,
                   [&, this] { transport.gather(context(), shape, local, kind, stream); });
    });
    return {parts_.global(), shape.global_len, config_.hidden};
  }

  /// The FFN left partial sums on every rank: adds them and hands every rank its own rows.
  /// `partial` is `[global_len, H]`, contiguous (best: `partial_slot`); `out` is `[local_len, H]` or,
  /// eagerly, the rows that exist.
  void reduce_scatter(const ShapeKey& shape, Rows<const T> partial, Rows<T> out,
                      stream_type stream) {
    const detail::Range range("dpgather reduce_scatter");
    check_back(shape, partial, out, stream, "reduce_scatter", true);
    detail::dispatch<Mode, Comm>(shape.transport, [&, this](auto transport) {
      moved_.count(parts_, stream, &RowsMoved::back,
                   [&, this] { transport.reduce_scatter(context(), shape, partial, out, stream); });
    });
  }
  /// The FFN reduced already (all ranks hold the same full rows): hands every rank its own. No
  /// communication.
  void slice_local(const ShapeKey& shape, Rows<const T> full, Rows<T> out, stream_type stream) {
    const detail::Range range("dpgather slice_local");
    check_back(shape, full, out, stream, "slice_local", false);
    detail::slice_own<T>(stream, counts_.view(), full, out, shape.local_len);
  }

  /// Which rows of `[global_len, H]` exist, for masked GEMMs, routing (`fill_sentinel`) and masks.
  /// Read when work runs.
  [[nodiscard]] ValidRows valid_rows(const ShapeKey& shape) { return context().valid_rows(shape); }
  /// Per block: valid rows, offsets and lens of this step, for masked GEMMs and routing. Fixed
  /// addresses.
  [[nodiscard]] CountsView counts() const { return counts_.view(); }
  /// Throws CapacityError if element work met a count above the len it was captured for, and what
  /// barriers of peers found. Call it where the stream is synchronised anyway, before results are
  /// used: a device's findings are there after that.
  void status() {
    parts_.check_peers();
    const std::int64_t excess = counts_.take_error();
    require<CapacityError>(excess == 0, where("status"), "a count of ", excess,
                           " rows exceeded the len a graph was captured for");
    reduction_check_.raise(ffn_.size(), where("status"));
  }
  [[nodiscard]] const Plan& plan() const { return plan_; }
  /// Steps by the reason of their transport, the same on all ranks of the FFN group.
  [[nodiscard]] const ChoiceCounts& choices() const { return choices_; }
  [[nodiscard]] RowsMoved moved() const { return moved_.moved(); }
  [[nodiscard]] const GatherConfig& config() const { return config_; }
  [[nodiscard]] const Lifeline& lifeline() const { return lifeline_; }
  /// Of all that choices follow from, what memory is in reach too: to be agreed as a policy.
  [[nodiscard]] std::uint64_t fingerprint() const {
    const Allowed allowed = parts_.allowed(true);
    return Hash{}
        .add(mode_.fingerprint())
        .add(rounding_.fingerprint())
        .add(ElementTraits<T>::dtype)
        .add(config_.hidden)
        .add(config_.hosts)
        .add(allowed.peers)
        .add(allowed.host_peers)
        .add(config_.max_local_rows)
        .add(config_.max_global_rows)
        .value();
  }

 private:
  [[nodiscard]] ErrorContext where(std::string_view operation) const {
    return {ffn_.rank(), step_, operation};
  }

  [[nodiscard]] Choice choose_static(const Step& step) {
    PlanInput input = step.plan_input(config_.axis, config_.phase);
    input.layout.ffn_dp = 0;
    detail::load_group(input, step.rank(), scratch_);
    return mode_.choose({scratch_.lens, is_prefill(input.forward)}, parts_.allowed(true));
  }
  /// `begun`: the shape that the caller begins with.
  Choice plan_exact(const Step& step, Plan& plan, const ShapeKey* begun = nullptr) const {
    Choice choice;
    const auto choose = [&](const StepLoad& load) {
      choice = mode_.choose(load, parts_.allowed(false));
      if (detail::stands<Mode>(begun, step.index())) return begun->transport;
      return *choice.transport;
    };
    make_plan(step.plan_input(config_.axis, config_.phase), step.rank(), rounding_, choose, plan);
    plan.shape.step = step.index();
    return choice;
  }
  void check_shape(const ShapeKey& shape, std::string_view operation, bool capturing) const {
    config_.check_shape(shape, plan_.shape, capturing, where(operation));
  }
  void check_rows(Rows<const T> rows, std::string_view operation, std::int64_t needed) const {
    require(rows.rows() >= needed && (rows.width() == config_.hidden || needed == 0),
            where(operation), "rows are [", rows.rows(), ", ", rows.width(),
            "], must be at least [", needed, ", ", config_.hidden, "]");
  }
  void check_back(const ShapeKey& shape, Rows<const T> full, Rows<const T> out, stream_type stream,
                  std::string_view operation, bool expect_partial) {
    check_shape(shape, operation, stream.capturing());
    check_rows(full, operation, shape.global_len);
    check_rows(out, operation, shape.is_static ? shape.local_len : plan_.own_valid());
    require(full.contiguous(), where(operation), "global rows have stride ", full.stride(),
            ", must be contiguous");
    stream.hold(lifeline_);
    if constexpr (Comm::checks >= CheckLevel::communicating)
      reduction_check_.check(ffn_, full, valid_rows(shape), expect_partial, stream,
                             where(operation));
  }

  [[nodiscard]] detail::ExchangeContext<T, Comm> context() {
    return parts_.context(plan_, counts_.view());
  }

  Comm& ffn_;
  GatherConfig config_;
  Mode mode_;
  Rounding rounding_;
  DeviceCounts<typename Comm::memory_type> counts_;
  detail::ReductionCheck<typename Comm::memory_type> reduction_check_;
  detail::GatherParts<T, Comm, stores_to_peers, detail::goes_by_hosts<Mode, Comm>> parts_;
  Plan plan_, scratch_;
  ChoiceCounts choices_;
  detail::MovedCounter moved_;
  std::int64_t step_ = -1;
  Lifeline lifeline_;
};

}  // namespace dpgather
