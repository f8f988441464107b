// Auto: the one place that chooses among the transports that a step may use.
#pragma once

#include <cstdint>

#include <dpgather/core/hash.hpp>
#include <dpgather/exchange/choice.hpp>
#include <dpgather/exchange/modes.hpp>
#include <dpgather/exchange/transport_rule.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/rule.hpp>

namespace dpgather {

/// Picks a transport each step. In this order:
/// 1. Where ranks reach each other's memory: SumLen<PeerStore>, in graphs and outside, whatever the
///    rule says; an eager step whose ranks have equally many rows goes by MAX_LEN if the rule says
///    MAX_LEN, since there is no pad then and its slot needs no copy.
/// 2. In a captured step, where ranks are on several hosts and reach each other's memory on each:
///    SumLen<Hierarchical>, whatever the rule says, since it moves and computes fewer pads than
///    MAX_LEN.
/// 3. MAX_LEN if the rule says so.
/// 4. SUM_LEN by `Eager` when eager and by all-reduce in a captured step.
/// `peer_stores = false` does without such memory, for comparison or if it is reached but slowly.
template <class Rule = VolumeRule, class Eager = AllGatherV>
requires((LenRule<Rule> ||
          TransportRule<Rule>)&&(Eager::transport == Transport::sum_len_all_gather_v ||
                                 Eager::transport == Transport::sum_len_all_reduce)) struct Auto {
  static_assert(LenRule<Rule>, "a rule that chooses the transport itself takes no Eager");
  Rule rule = {};
  bool peer_stores = true;

  [[nodiscard]] constexpr Choice choose(const StepLoad& load, const Allowed& allowed) const {
    const bool max_len = rule.choose(load) == LenMode::max_len;
    if (allowed.peers && peer_stores) {
      if (max_len && !allowed.captured && even(load.counts))
        return {Transport::max_len, ChoiceReason::no_padding};
      return {Transport::sum_len_peer_store, ChoiceReason::only_rows_that_exist};
    }
    if (allowed.captured && allowed.host_peers && peer_stores)
      return {Transport::sum_len_hierarchical, ChoiceReason::across_hosts};
    if (max_len) return {Transport::max_len, ChoiceReason::rule_max_len};
    if (!allowed.captured) return {Eager::transport, ChoiceReason::rule_sum_len};
    return {Transport::sum_len_all_reduce, Eager::transport == Transport::sum_len_all_reduce
                                               ? ChoiceReason::rule_sum_len
                                               : ChoiceReason::captured_needs_graph_safe};
  }
  [[nodiscard]] static constexpr bool may_use(Transport transport) {
    return transport == Transport::max_len || transport == Transport::sum_len_all_reduce ||
           transport == Transport::sum_len_peer_store ||
           transport == Transport::sum_len_hierarchical || transport == Eager::transport;
  }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(rule.fingerprint()).add(Eager::transport).add(peer_stores).value();
  }

 private:
  [[nodiscard]] static constexpr bool even(Counts counts) {
    return max(counts) * static_cast<std::int64_t>(counts.size()) == sum(counts);
  }
};

/// Takes what the rule chooses among all transports that a step may use, with the rule's reason.
/// `peer_stores = false` as above.
template <TransportRule Rule>
struct Auto<Rule, AllGatherV> {
  Rule rule;
  bool peer_stores = true;

  [[nodiscard]] Choice choose(const StepLoad& load, const Allowed& allowed) const {
    return rule.choose(load, narrowed(allowed));
  }
  void began(const Allowed& allowed, Transport transport) {
    rule.began(narrowed(allowed), transport);
  }
  [[nodiscard]] static constexpr bool may_use(Transport) { return true; }
  [[nodiscard]] std::uint64_t fingerprint() const {
    return Hash{}.add(rule.fingerprint()).add(peer_stores).value();
  }

 private:
  [[nodiscard]] Allowed narrowed(Allowed allowed) const {
    allowed.peers = allowed.peers && peer_stores;
    allowed.host_peers = allowed.host_peers && peer_stores;
    return allowed;
  }
};

static_assert(GatherMode<Auto<>>);

}  // namespace dpgather
