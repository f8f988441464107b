// A step as all ranks agreed on it: the same values on every rank.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <dpgather/agree/record.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/layout.hpp>
#include <dpgather/plan/plan.hpp>

namespace dpgather {

namespace detail {

/// Storage behind a Step; StepAgreement reuses a few of them in turn.
struct AgreedStep {
  struct AgreedPhase {
    std::vector<std::int64_t> tokens, requests, logits;  // [dp]
    Forward forward = Forward::idle;
    std::int32_t width = 1;
    bool can_graph = true;
  };
  std::int64_t index = -1;
  std::uint64_t generation = 0;
  DpLayout layout;
  int rank = 0;
  int phases = 0;
  std::array<AgreedPhase, max_phases> phase;
  std::array<Forward, max_phases> own_forward{};
  std::vector<UserBytes> user;  // [world]
};

}  // namespace detail

/// A light handle, copied freely. Valid until the second `wait()` after the one that returned it,
/// so that step n can run while step n+1 is agreed; use after that throws InvalidArgument. Lives
/// within its agreement.
class Step {
 public:
  Step() = default;
  explicit Step(const detail::AgreedStep& agreed)
      : agreed_(&agreed), generation_(agreed.generation) {}

  [[nodiscard]] std::int64_t index() const { return get().index; }
  [[nodiscard]] const DpLayout& layout() const { return get().layout; }
  [[nodiscard]] int rank() const { return get().rank; }
  [[nodiscard]] int phases() const { return get().phases; }

  /// Rows of each DP rank, `[dp]`.
  [[nodiscard]] Counts tokens(int phase = 0) const { return at(phase).tokens; }
  [[nodiscard]] Counts requests(int phase = 0) const { return at(phase).requests; }
  [[nodiscard]] Counts logits(int phase = 0) const { return at(phase).logits; }
  [[nodiscard]] Counts rows(RowAxis axis, int phase = 0) const {
    return axis == RowAxis::tokens ? tokens(phase) : logits(phase);
  }
  /// This rank's own rows.
  [[nodiscard]] std::int64_t own_tokens(int phase = 0) const { return own(tokens(phase)); }
  [[nodiscard]] std::int64_t own_requests(int phase = 0) const { return own(requests(phase)); }

  /// Mode of the step over all ranks: decode and extend ranks together are mixed.
  [[nodiscard]] Forward forward(int phase = 0) const { return at(phase).forward; }
  /// What this rank itself posted.
  [[nodiscard]] Forward own_forward(int phase = 0) const {
    check_phase(phase);
    return get().own_forward[static_cast<std::size_t>(phase)];
  }
  /// Rows per request; 1 in prefill.
  [[nodiscard]] std::int32_t width(int phase = 0) const { return at(phase).width; }
  /// Every rank voted that a graph may run, and no rank prefills.
  [[nodiscard]] bool can_graph(int phase = 0) const { return at(phase).can_graph; }
  /// What world rank `rank` said in its user bytes.
  [[nodiscard]] const UserBytes& user(int rank) const {
    layout().check_rank(rank);
    return get().user[static_cast<std::size_t>(rank)];
  }

  [[nodiscard]] PlanInput plan_input(RowAxis axis = RowAxis::tokens, int phase = 0) const {
    // Logits rows follow no width: a head takes any number a rank.
    return {.layout = layout(),
            .counts = rows(axis, phase),
            .forward = forward(phase),
            .width = axis == RowAxis::tokens ? width(phase) : 1};
  }

 private:
  [[nodiscard]] const detail::AgreedStep& get() const {
    require(agreed_ != nullptr, {.operation = "Step"}, "this Step is empty");
    require(agreed_->generation == generation_, {.rank = agreed_->rank, .operation = "Step"},
            "this Step is too old: a later step was agreed twice since");
    return *agreed_;
  }
  void check_phase(int phase) const {
    require(phase >= 0 && phase < get().phases,
            {.rank = get().rank, .step = get().index, .operation = "Step"}, "phase is ", phase,
            ", this step has ", get().phases);
  }
  [[nodiscard]] const detail::AgreedStep::AgreedPhase& at(int phase) const {
    check_phase(phase);
    return get().phase[static_cast<std::size_t>(phase)];
  }
  [[nodiscard]] std::int64_t own(Counts counts) const {
    return counts[static_cast<std::size_t>(layout().dp_rank(rank()))];
  }

  const detail::AgreedStep* agreed_ = nullptr;
  std::uint64_t generation_ = 0;
};

}  // namespace dpgather
