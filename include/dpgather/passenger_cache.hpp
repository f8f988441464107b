// PassengerCache: which graph a step takes and which graphs are held, for an engine that captures by
// itself.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <dpgather/agree/step.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/graph/eviction.hpp>
#include <dpgather/graph/gather_watch.hpp>
#include <dpgather/graph/graph_key.hpp>
#include <dpgather/graph/ledger.hpp>
#include <dpgather/graph/replay_guard.hpp>
#include <dpgather/graph/select.hpp>
#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/capture_sizes.hpp>

namespace dpgather {

/// One per rank; all ranks make the same calls. GraphCache is one that captures and replays, too;
/// this is the part that an engine with graphs of its own (torch, piecewise) uses: `select`, `holds`,
/// `end_capture`, `note_replay`, `note_eager` and `invalidate`. `Graph` is what is held for a key,
/// here nothing.
template <GraphKey Key = ShapeKey, SizePolicy Sizes = CaptureSizes,
          EvictionPolicy Eviction = KeepAll, class Graph = std::monostate>
class PassengerCache {
 public:
  /// Throws InvalidArgument if the policy's budget cannot be.
  explicit PassengerCache(Sizes sizes, Eviction eviction = {})
      : sizes_(std::move(sizes)), ledger_(std::move(eviction)) {}
  PassengerCache(const PassengerCache&) = delete;
  PassengerCache& operator=(const PassengerCache&) = delete;

  /// Shape of this step: the smallest captured size that fits, the same on all ranks; `gather`'s
  /// exact shape where no graph can run. Nothing is captured yet. Sizes that learn tune here, for
  /// the next step; graphs of sizes that are gone are dropped then.
  template <class Gather>
  [[nodiscard]] ShapeKey select(const Step& step, Gather& gather) {
    const auto& config = gather.config();
    const PlanInput input = step.plan_input(config.axis, config.phase);
    const std::int64_t requests = max(step.requests(config.phase));
    ledger_.begin(step.index());
    if (watch_.lost_any(gather.lifeline().hold())) ledger_.clear();
    if constexpr (LearningSizes<Sizes>) adopt_sizes(input.layout);
    const Selection selection = select_shape(
        input, requests, step.can_graph(config.phase), gather.static_transport(step), sizes_,
        {.local_rows = config.max_local_rows, .global_rows = config.max_global_rows});
    reason_ = selection.reason;
    if constexpr (LearningSizes<Sizes>)
      if (reason_ == EagerReason::none || reason_ == EagerReason::too_large)
        if (sizes_.note(needed_sizes(input, requests))) ledger_.announce(sizes_.next());
    return reason_ == EagerReason::none ? selection.shape : gather.exact_shape(step);
  }
  /// Keys whose graphs the last `select` dropped, since sizes are others now. An engine
  /// destroys its graphs of them.
  [[nodiscard]] const std::vector<Key>& retired() const { return retired_; }

  /// A graph for `key` is there, and nothing it holds was invalidated.
  [[nodiscard]] bool holds(const Key& key) const { return ledger_.held().contains(key); }
  [[nodiscard]] std::size_t size() const { return ledger_.held().size(); }
  /// Why a static `key` stays eager until the next `invalidate`: its capture failed, or its graph is
  /// above the budget. none if it does not.
  [[nodiscard]] EagerReason refused(const Key& key) const { return ledger_.held().refused(key); }

  /// Ends the engine's capture of `key` on all ranks, whether or not it went well here
  /// (`reason` says why not). `bytes` is what the graph takes on this rank. The engine destroys the
  /// graphs that are dropped, before it uploads the new one, or the new one if that is not kept.
  template <class Agreement>
  [[nodiscard]] Admission<Key> end_capture(Agreement& agreement, const Key& key, bool ok = true,
                                           std::string_view reason = {}, std::uint64_t bytes = 0) {
    const Accounting<Agreement> accounting(ledger_, agreement, agreement.next_step() - 1);
    Admission<Key> admission = conclude(agreement, key, ok, reason, bytes);
    if (admission.kept) ledger_.keep(key, std::nullopt, admission.bytes, bytes);
    return admission;
  }
  /// The same where the engine agreed by itself, on `bytes` too.
  Admission<Key> note_capture(const Key& key, std::uint64_t bytes = 0) {
    Admission<Key> admission = ledger_.admit(key, bytes);
    if (admission.kept) ledger_.keep(key, std::nullopt, bytes, bytes);
    return admission;
  }
  /// Call before the engine replays `key`. The replay guard: throws CapacityError if the
  /// step does not fit, GraphError if `key` is not held: dropped, or never captured.
  void note_replay(const Step& step, const Key& key, int phase = 0) {
    ledger_.begin(step.index());
    require<GraphError>(holds(key), {step.rank(), step.index(), "GraphCache"}, "no graph of ",
                        shape_of(key),
                        " was captured since the last invalidate, or it was evicted");
    check_fit(step, key, phase);
    note_use(step, key, phase);
  }
  void note_eager(EagerReason reason) { ledger_.eager(reason, Key{}); }

  /// Drops every graph: a communicator was re-created or a buffer moved. Call it on all ranks in the
  /// same step: the next agreement throws DivergenceError where caches differ. `select` does so
  /// itself when a gather that it was given before is gone.
  template <class Agreement>
  void invalidate(Agreement& agreement) {
    const Accounting<Agreement> accounting(ledger_, agreement, agreement.next_step() - 1);
    ledger_.clear();
  }
  /// Drops the graphs of all keys for which `gone(key)`, say of a LoRA variant that was unloaded, and
  /// returns them; keys that stayed eager may be captured again. On all ranks in the same step.
  template <class Agreement, std::predicate<const Key&> Gone>
  std::vector<Key> drop_if(Agreement& agreement, const Gone& gone) {
    const Accounting<Agreement> accounting(ledger_, agreement, agreement.next_step() - 1);
    return ledger_.drop_if(gone);
  }
  /// Of what is held, and of what was captured, failed and dropped; the same on all ranks.
  [[nodiscard]] std::uint64_t state() const { return ledger_.state(); }
  [[nodiscard]] std::uint64_t generation() const { return ledger_.generation(); }
  [[nodiscard]] const GraphStatistics& statistics() const { return ledger_.statistics(); }
  /// What the last failed capture said, and on which rank.
  [[nodiscard]] const std::string& last_failure() const { return last_failure_; }
  [[nodiscard]] const Sizes& sizes() const { return sizes_; }
  /// Why the last `select` found no graph.
  [[nodiscard]] EagerReason reason() const { return reason_; }
  /// Of sizes, eviction policy and budget: for AgreementConfig::policy.
  [[nodiscard]] std::uint64_t fingerprint() const {
    return Hash{}.add(sizes_.fingerprint()).add(ledger_.held().eviction().fingerprint()).value();
  }

 protected:
  using Ledger = detail::GraphLedger<Key, Graph, Eviction>;
  /// Writes into the agreement's history, and posts the state with the next step, whatever happens
  /// in this one.
  template <class Agreement>
  struct Accounting {
    const Ledger& ledger;
    Agreement& agreement;
    Accounting(Ledger& l, Agreement& a, std::int64_t step) : ledger(l), agreement(a) {
      l.write_to(a.history());
      l.begin(step);
    }
    ~Accounting() { agreement.set_state(ledger.state(), ledger.words()); }
  };
  static void check_fit(const Step& step, const Key& key, int phase) {
    detail::check_fit({max(step.tokens(phase)), max(step.requests(phase)), step.forward(phase),
                       step.width(phase)},
                      shape_of(key), {step.rank(), step.index(), "GraphCache"});
  }

  /// What all ranks make of a capture. What goes for it is gone when this returns, so that no device
  /// ever holds more than the budget.
  template <class Agreement>
  [[nodiscard]] Admission<Key> conclude(Agreement& agreement, const Key& key, bool ok,
                                        std::string_view reason, std::uint64_t bytes) {
    const auto said = agreement.confirm({.ok = ok,
                                         .reason = reason,
                                         .key = std::hash<Key>{}(key),
                                         .uses = ledger_.held().uses(),
                                         .bytes = bytes,
                                         .latest_bytes = std::exchange(latest_bytes_, 0)});
    ledger_.grow(said.latest_bytes);
    if (said.ok) return ledger_.admit(key, said.bytes);
    last_failure_ = said.reason;
    return ledger_.fail(key);
  }
  /// Sizes that the last step made: since then all ranks have agreed, and on them, too.
  void adopt_sizes(const DpLayout& layout) {
    retired_.clear();
    if (sizes_.next() == 0) return;
    sizes_.adopt();
    retired_ = ledger_.drop_if(
        [&](const Key& key) { return !detail::listed(shape_of(key), sizes_.pairs(), layout); });
  }
  void note_use(const Step& step, const Key& key, int phase) {
    const DpLayout& layout = step.layout();
    const auto first = static_cast<std::size_t>(layout.group_first_dp(step.rank()));
    const auto group = static_cast<std::size_t>(layout.group_dp());
    ledger_.replay(key, step.tokens(phase).subspan(first, group));
  }

  Sizes sizes_;
  Ledger ledger_;
  std::uint64_t latest_bytes_ = 0;  // of the graph captured last, since it was made ready
  detail::GatherWatch watch_;
  EagerReason reason_ = EagerReason::caller;

 private:
  std::string last_failure_;
  std::vector<Key> retired_;
};

}  // namespace dpgather
