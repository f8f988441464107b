// Rules that choose the transport itself, and not just between MAX_LEN and SUM_LEN.
#pragma once

#include <concepts>
#include <cstdint>

#include <dpgather/exchange/choice.hpp>
#include <dpgather/plan/rule.hpp>

namespace dpgather {

/// `choose` answers one of the transports that `Allowed::may_take`, always some, from agreed facts
/// alone and without a change. `began` is told, once for each step that begins and in that order
/// on all ranks, what was chosen for it; a rule may remember that. It is not in the fingerprint,
/// which is compared across ranks from the start.
template <class R>
concept TransportRule = requires(const R& rule, R& changing, const StepLoad& load,
                                 const Allowed& allowed, Transport transport) {
  { rule.choose(load, allowed) } -> std::same_as<Choice>;
  { rule.fingerprint() } -> std::same_as<std::uint64_t>;
  changing.began(allowed, transport);
};

/// A gather mode that is told which steps began.
template <class M>
concept RemembersSteps = requires(M& mode, const Allowed& allowed, Transport transport) {
  mode.began(allowed, transport);
};

namespace detail {

template <class Mode>
void note_began(Mode& mode, const Allowed& allowed, const Choice& choice) {
  if constexpr (RemembersSteps<Mode>)
    if (choice.transport) mode.began(allowed, *choice.transport);
}

/// `shape` was made for this step, maybe before an earlier step began. What the mode remembers may
/// have moved since, and the shape stands.
template <class Mode>
[[nodiscard]] bool stands(const ShapeKey* shape, std::int64_t step) {
  if constexpr (RemembersSteps<Mode>)
    return shape != nullptr && shape->step == step && Mode::may_use(shape->transport);
  return false;
}

}  // namespace detail

}  // namespace dpgather
