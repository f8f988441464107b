// StepAgreement: one all-gather of records a step, before any rank branches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dpgather/agree/alignment.hpp>
#include <dpgather/agree/confirmation.hpp>
#include <dpgather/agree/divergence.hpp>
#include <dpgather/agree/judge.hpp>
#include <dpgather/agree/record.hpp>
#include <dpgather/agree/step.hpp>
#include <dpgather/comm/control_plane.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/history.hpp>
#include <dpgather/plan/layout.hpp>

namespace dpgather {

struct AgreementConfig {
  /// Fingerprint of whatever must be set up alike on all ranks (gather modes, rules, capture
  /// sizes).
  std::uint64_t policy = 0;
};

/// One per rank, over a control plane of the layout's world; keeps a reference to it. Each step
/// calls `post` once, then `wait` once. `wait` returns the same Step on every rank, or throws the
/// same error on every rank; after an error that ranks share the next step may be posted. No
/// allocation in a steady-state step.
template <ControlPlane Control>
class StepAgreement {
 public:
  StepAgreement(Control& control, const DpLayout& layout, AgreementConfig config = {})
      : control_(control), layout_(layout) {
    layout.check();
    require(control.size() == layout.world(), where("StepAgreement"), "the control plane has ",
            control.size(), " ranks, the layout ", layout.world());
    const auto world = static_cast<std::size_t>(layout.world());
    records_.resize(world);
    ahead_.resize(world);
    mine_.rank = control.rank();
    set_policy(config.policy);
    for (auto& slot : slots_) detail::reserve(slot, layout);
  }
  StepAgreement(const StepAgreement&) = delete;
  StepAgreement& operator=(const StepAgreement&) = delete;

  /// Says what this rank has in the next step; does not wait. A Phase that cannot be is posted as
  /// this rank's failure, so that every rank throws from `wait` and none hangs.
  void post(const Phase& phase, const UserBytes& user = {}) { post(std::span(&phase, 1), user); }
  void post(std::span<const Phase> phases, const UserBytes& user = {}) {
    if (const auto problem = detail::problem_with(phases)) return post_failure(*problem);
    mine_.step = next_;
    mine_.user = user;
    for (std::size_t i = 0; i < phases.size(); ++i) mine_.phase[i] = phases[i];
    if (mine_.phases != static_cast<std::int32_t>(phases.size())) {
      mine_.phases = static_cast<std::int32_t>(phases.size());
      mine_.blank_phases_from(phases.size());
    }
    send(mine_);
  }
  /// This rank cannot run the step: every rank throws PeerError with `reason` from `wait`.
  void post_failure(std::string_view reason) {
    detail::StepRecord record = blank();
    record.failed = 1;
    record.set_message(reason);
    send(record);
  }

  /// Ends the agreement of the posted step. Throws PeerError if a rank failed or left,
  /// DivergenceError if ranks are at different steps, set up differently or disagree on the forward
  /// mode, TimeoutError past the deadline.
  [[nodiscard]] Step wait() {
    require(posted_, where("wait"), "wait was called without a post");
    if (received_ahead_)
      std::swap(records_, ahead_);
    else
      receive(records_);
    received_ahead_ = posted_ = false;
    const std::int64_t index = next_++;
    detail::AgreedStep& slot = slots_[static_cast<std::size_t>(index) % slots_.size()];
    judged([&] { detail::judge(records_, layout_, control_.rank(), index, slot); });
    return Step(slot);
  }

  /// One more, tiny agreement inside a step (a capture ended). If the next step was posted already,
  /// its records are taken in first and kept for its `wait`; every rank must have posted it, or
  /// none.
  [[nodiscard]] Confirmation confirm(const CaptureEnd& end) {
    if (posted_ && !received_ahead_) {
      receive(ahead_);
      posted_ = false;  // a divergence ends the step that was posted, too
      judged([&, this] { detail::check_alignment(ahead_, where("confirm")); });
      posted_ = received_ahead_ = true;
    }
    detail::StepRecord record = blank();
    detail::end_capture(record, end);
    history_->add({.step = next_ - 1, .key = end.key, .did = Did::confirm});
    control_.post(std::as_bytes(std::span(&record, 1)));
    receive(records_);
    Confirmation said;
    judged([&] { said = detail::judge_confirmation(records_, control_.rank(), next_); });
    return said;
  }
  [[nodiscard]] Confirmation confirm(bool ok, std::string_view reason = {}, std::uint64_t key = 0) {
    return confirm({.ok = ok, .reason = reason, .key = key});
  }

  /// Throws PeerError if a rank is known to have failed; does not wait. For waits of another kind:
  /// a rank that waits for its GPU learns so that a peer will never come.
  void check() const { control_.check(); }
  /// This rank gives up, whatever it was doing: every rank's next call, or the one it waits in,
  /// throws PeerError with `reason`.
  void abort(std::string_view reason) { control_.abort(reason); }

  [[nodiscard]] int rank() const { return control_.rank(); }
  [[nodiscard]] const DpLayout& layout() const { return layout_; }
  /// Index of the step that the next `post` (or the outstanding one) is for.
  [[nodiscard]] std::int64_t next_step() const { return next_; }
  [[nodiscard]] Control& control() const { return control_; }
  void set_policy(std::uint64_t policy) { mine_.policy = policy ^ layout_.fingerprint(); }
  /// Whatever must have evolved alike on all ranks (GraphCache sets it); compared from the next `post` on.
  /// `words` say what it is where ranks differ.
  void set_state(std::uint64_t state, std::string_view words = {}) {
    mine_.state = state;
    mine_.set_message(words);
  }

  /// What this rank did last. Whoever shares it may add what all ranks do alike, on this thread.
  [[nodiscard]] const std::shared_ptr<RankHistory>& history() const { return history_; }
  /// Of the last DivergenceError that this threw: the histories of all ranks side by side, one line
  /// an entry, the first that differs marked. Empty if there was none.
  [[nodiscard]] const std::string& last_divergence() const { return last_divergence_; }

 private:
  [[nodiscard]] ErrorContext where(std::string_view operation) const {
    return {.rank = control_.rank(), .step = next_, .operation = operation};
  }
  /// This rank's record of a step in which it posts no phases.
  [[nodiscard]] detail::StepRecord blank() const {
    detail::StepRecord record;
    record.rank = mine_.rank;
    record.step = next_;
    record.policy = mine_.policy;
    record.state = mine_.state;
    record.message = mine_.message;
    return record;
  }
  void send(const detail::StepRecord& record) {
    require(!posted_, where("post"), "post was called twice without a wait");
    history_->add_post(next_, sizeof(record), mine_.state);
    control_.post(std::as_bytes(std::span(&record, 1)));
    posted_ = true;
  }
  /// `judge` finds the same on every rank, so every rank is here if it diverged.
  template <class Judge>
  void judged(const Judge& judge) {
    std::unique_ptr<DivergenceError> found;
    try {
      judge();
    } catch (const DivergenceError& error) {
      found = std::make_unique<DivergenceError>(error);
    }
    if (found) throw detail::with_histories(*found, control_, *history_, last_divergence_);
  }
  /// A control plane knows no steps: its errors get this one's.
  void receive(std::vector<detail::StepRecord>& records) {
    try {
      control_.wait(std::as_writable_bytes(std::span(records)));
    } catch (const PeerError& error) {
      throw PeerError(where("agreement"), error.detail());
    } catch (const TimeoutError& error) {
      throw TimeoutError(where("agreement"), error.detail());
    }
    detail::check_version(records, where("agreement"));
  }

  Control& control_;
  DpLayout layout_;
  detail::StepRecord mine_;  // of a step with phases; what does not change from step to step stays
  std::string last_divergence_;
  std::shared_ptr<RankHistory> history_ = std::make_shared<RankHistory>();
  std::int64_t next_ = 0;
  bool posted_ = false;
  bool received_ahead_ = false;
  std::vector<detail::StepRecord> records_, ahead_;
  std::array<detail::AgreedStep, 3> slots_;
};

}  // namespace dpgather
