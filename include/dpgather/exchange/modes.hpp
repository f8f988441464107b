// Gather modes: which transport a step takes. Those that know one; Auto is in auto_mode.hpp.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

#include <dpgather/core/hash.hpp>
#include <dpgather/exchange/choice.hpp>
#include <dpgather/plan/rule.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// A mode picks the transport from agreed facts alone, so that all ranks pick the same; nothing if
/// a captured step cannot use it. `may_use` says at compile time which transports to build.
template <class M>
concept GatherMode = requires(const M& mode, const StepLoad& load, const Allowed& allowed) {
  { mode.choose(load, allowed) } -> std::same_as<Choice>;
  { M::may_use(Transport::max_len) } -> std::same_as<bool>;
  { mode.fingerprint() } -> std::same_as<std::uint64_t>;
};

namespace detail {

template <Transport Only>
struct OneTransport {
  [[nodiscard]] constexpr Choice choose(const StepLoad&, const Allowed& allowed) const {
    if (allowed.captured && !graph_safe(Only)) return {std::nullopt, ChoiceReason::fixed_mode};
    return {Only, ChoiceReason::fixed_mode};
  }
  [[nodiscard]] static constexpr bool may_use(Transport transport) { return transport == Only; }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(name(Only)).value();
  }
};

}  // namespace detail

/// Pad every rank to the longest; all-gather out, reduce-scatter back. Shapes are static, so a
/// graph holds it.
struct MaxLen : detail::OneTransport<Transport::max_len> {};

struct AllReduce {
  static constexpr Transport transport = Transport::sum_len_all_reduce;
};
struct AllGatherV {
  static constexpr Transport transport = Transport::sum_len_all_gather_v;
};
struct PeerStore {
  static constexpr Transport transport = Transport::sum_len_peer_store;
};

struct Hierarchical {
  static constexpr Transport transport = Transport::sum_len_hierarchical;
};

/// No padding between ranks. `SumLen<AllReduce>`: zero, copy own rows to their offset, all-reduce;
/// a graph holds it, counts are read from DeviceCounts. `SumLen<AllGatherV>`: moves the rows that
/// exist and no others; eager only. `SumLen<PeerStore>`: the same rows, stored straight into the peers'
/// buffers, and in a graph as well; for communicators whose ranks reach each other's memory.
/// `SumLen<Hierarchical>`: the same on each of `GatherConfig::hosts` hosts, whose first ranks then
/// exchange the rows of whole hosts, padded to the fullest in a graph; with one host it is PeerStore.
template <class How>
requires requires {
  How::transport;
}
struct SumLen : detail::OneTransport<How::transport> {};

static_assert(GatherMode<MaxLen> && GatherMode<SumLen<AllReduce>> &&
              GatherMode<SumLen<AllGatherV>> && GatherMode<SumLen<PeerStore>> &&
              GatherMode<SumLen<Hierarchical>>);

}  // namespace dpgather
