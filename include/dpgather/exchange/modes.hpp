// Gather modes: which transport a step takes.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>

#include <dpgather/core/hash.hpp>
#include <dpgather/plan/rule.hpp>
#include <dpgather/plan/shape_key.hpp>

namespace dpgather {

/// A mode picks the transport from agreed facts alone, so that all ranks pick the same; nothing if
/// a captured step cannot use it. `may_use` says at compile time which transports to build.
template <class M>
concept GatherMode = requires(const M& mode, const StepLoad& load, bool captured) {
  { mode.choose(load, captured) } -> std::same_as<std::optional<Transport>>;
  { M::may_use(Transport::max_len) } -> std::same_as<bool>;
  { mode.fingerprint() } -> std::same_as<std::uint64_t>;
};

namespace detail {

template <Transport Only>
struct OneTransport {
  [[nodiscard]] constexpr std::optional<Transport> choose(const StepLoad&, bool captured) const {
    if (captured && !graph_safe(Only)) return std::nullopt;
    return Only;
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

/// No padding between ranks. `SumLen<AllReduce>`: zero, copy own rows to their offset, all-reduce;
/// a graph holds it, counts are read from DeviceCounts. `SumLen<AllGatherV>`: moves the rows that
/// exist and no others; eager only. `SumLen<PeerStore>`: the same rows, stored straight into the peers'
/// buffers, and in a graph as well; for communicators whose ranks reach each other's memory.
template <class How>
requires requires {
  How::transport;
}
struct SumLen : detail::OneTransport<How::transport> {};

/// Lets a rule choose between MAX_LEN and SUM_LEN each step. SUM_LEN goes by `Eager` when eager and
/// by all-reduce in a captured step.
template <LenRule Rule = VolumeRule, class Eager = AllGatherV>
struct Auto {
  Rule rule = {};

  [[nodiscard]] constexpr std::optional<Transport> choose(const StepLoad& load,
                                                          bool captured) const {
    if (rule.choose(load) == LenMode::max_len) return Transport::max_len;
    return captured ? Transport::sum_len_all_reduce : Eager::transport;
  }
  [[nodiscard]] static constexpr bool may_use(Transport transport) {
    return transport == Transport::max_len || transport == Transport::sum_len_all_reduce ||
           transport == Eager::transport;
  }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(rule.fingerprint()).add(Eager::transport).value();
  }
};

static_assert(GatherMode<MaxLen> && GatherMode<SumLen<AllReduce>> &&
              GatherMode<SumLen<AllGatherV>> && GatherMode<SumLen<PeerStore>> &&
              GatherMode<Auto<>>);

}  // namespace dpgather
