// The buffers and groups of a gather: what its transports work on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/exchange/choice.hpp>
#include <dpgather/exchange/context.hpp>
#include <dpgather/exchange/gather_config.hpp>
#include <dpgather/exchange/host_exchange.hpp>
#include <dpgather/exchange/peer_table.hpp>
#include <dpgather/exchange/shared_buffer.hpp>

namespace dpgather::detail {

/// Construction is collective where A > 1, where the communicator registers buffers, and where
/// `ToPeers` or `ToHosts`. Keeps references to `ffn` and `config`, whose limits are filled in.
template <Element T, Communicator Comm, bool ToPeers, bool ToHosts>
class GatherParts {
 public:
  /// `must_reach`: the mode knows nothing but stores into peers' buffers.
  GatherParts(Comm& ffn, const GatherConfig& config, bool must_reach)
      : ffn_(ffn),
        config_(config),
        global_(ffn, config.max_global_rows * config.hidden),
        partial_(ffn, config.max_global_rows * config.hidden),
        staging_(ffn, config.max_local_rows * config.hidden),
        peers_(ffn, global_.data(), partial_.data(), must_reach),
        hosts_(ffn, config, partial_.data()),
        ragged_(static_cast<std::size_t>(ffn.size())),
        ragged_attn_(static_cast<std::size_t>(config.layout.attn_tp)) {
    const int attn_tp = config.layout.attn_tp;
    if (attn_tp > 1) attn_.emplace(ffn.split(ffn.rank() / attn_tp, ffn.rank()));
  }

  /// The same on all ranks, for what the mode may make use of.
  [[nodiscard]] Allowed allowed(bool captured) const {
    return {.captured = captured,
            .peers = peers_.in_reach() && config_.hosts == 1,
            .host_peers = hosts_.in_reach()};
  }
  /// Throws, on all ranks alike, if `transport` cannot be used here.
  void check_transport(Transport transport, const ErrorContext& where) const {
    const bool by_hosts = transport == Transport::sum_len_hierarchical && config_.hosts > 1;
    if (by_hosts)
      require(hosts_.in_reach(), where, "transport ", name(transport),
              " needs ranks that reach each other's memory on each of the ", config_.hosts,
              " hosts, and these do not");
    else if (transport == Transport::sum_len_peer_store ||
             transport == Transport::sum_len_hierarchical)
      require(peers_.in_reach(), where, "transport ", name(transport),
              " needs ranks that reach each other's memory, and these ", ffn_.size(), " do not");
  }
  /// Elements that this rank received, from the FFN group or from other hosts' leaders.
  [[nodiscard]] std::uint64_t elements_moved() const {
    return ffn_.elements_moved() + hosts_.elements_moved();
  }
  /// Throws if a wait for peers has failed.
  void check_peers() {
    peers_.check();
    hosts_.check();
  }
  void set_step(std::int64_t step) {
    hosts_.set_step(step);
    ffn_.set_step(step);
    if (attn_) attn_->set_step(step);
  }
  [[nodiscard]] T* global() const { return global_.data(); }
  [[nodiscard]] T* partial() const { return partial_.data(); }
  [[nodiscard]] ExchangeContext<T, Comm> context(const Plan& plan, CountsView counts) {
    return {ffn_,
            attn_ ? &*attn_ : nullptr,
            plan,
            counts,
            config_.hidden,
            ffn_.rank() % config_.layout.attn_tp,
            config_.layout.attn_tp,
            global_.data(),
            partial_.data(),
            staging_.data(),
            config_.clean_slots,
            ragged_,
            ragged_attn_,
            peers_.view(),
            hosts_.view()};
  }

 private:
  Comm& ffn_;
  const GatherConfig& config_;
  std::optional<Comm> attn_;
  SharedBuffer<T, Comm> global_, partial_, staging_;
  PeerTables<T, Comm, ToPeers> peers_;
  Hosts<T, Comm, ToHosts> hosts_;
  RaggedSizes ragged_, ragged_attn_;
};

}  // namespace dpgather::detail
