// The hosts of a gather: who leads one, and the leader's memory that its members reach.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/exchange/gather_config.hpp>
#include <dpgather/exchange/peer_bodies.hpp>
#include <dpgather/exchange/peer_table.hpp>
#include <dpgather/exchange/ragged_sizes.hpp>
#include <dpgather/exchange/shared_buffer.hpp>

namespace dpgather::detail {

/// What a transport across hosts works on. `members` is null where there is none: one host, or
/// memory that members do not reach.
template <class T, class Comm>
struct HostExchange {
  Comm* members = nullptr;  ///< the ranks of this host; its rank 0 leads
  Comm* leaders = nullptr;  ///< the leaders, in order of the hosts; null on other ranks
  int hosts = 1;
  int host = 0;                   ///< this rank's
  std::int64_t blocks = 0;        ///< DP ranks of a host
  Peers<T> partial;               ///< of the members, [global_len, H] each
  Peers<T> area;                  ///< the leader's is buffer(0), [hosts * most rows of a host, H]
  T* own_area = nullptr;          ///< on leaders
  RaggedSizes* ragged = nullptr;  ///< blocks of the hosts
};

/// Whether all ranks say `yes`. Collective.
template <PeerCommunicator Comm>
[[nodiscard]] bool all_agree(Comm& comm, bool yes) {
  using Memory = typename Comm::memory_type;
  const typename Memory::stream_type stream{};
  Buffer<std::int64_t, Memory> said(comm.size());
  Buffer<std::int64_t, typename Memory::visible_type> seen(comm.size());
  share_word(comm, yes ? 1 : 0, said.data());
  launch(stream, "read_words", 1,
         CopyRow<std::int64_t>{Rows<const std::int64_t>(said.data(), 1, comm.size()),
                               Rows<std::int64_t>(seen.data(), 1, comm.size())});
  wait_for(comm, stream);
  return std::all_of(seen.data(), seen.data() + comm.size(), [](auto word) { return word == 1; });
}

/// Splits the FFN group into its hosts, if the mode may go by hosts (`Used`) and there are several.
template <Element T, class Comm, bool Used>
class Hosts {
 public:
  /// Collective. `config` is settled; `partial` is this rank's and outlives this.
  Hosts(Comm& ffn, const GatherConfig& config, T* partial)
      : hosts_(config.hosts),
        ranks_(ffn.size() / config.hosts),
        host_(ffn.rank() / ranks_),
        blocks_(config.layout.group_dp() / config.hosts),
        ragged_(static_cast<std::size_t>(config.hosts)) {
    if (hosts_ == 1) return;
    const bool leads = ffn.rank() % ranks_ == 0;
    members_.emplace(ffn.split(host_, ffn.rank()));
    in_reach_ = all_agree(ffn, members_->peers_in_reach());
    if (!in_reach_) return;
    leaders_.emplace(ffn.split(leads ? 0 : 1, ffn.rank()));
    const std::int64_t rows = std::min(config.max_global_rows, config.max_local_rows * blocks_);
    const std::int64_t elements = leads ? hosts_ * rows * config.hidden : 0;
    area_.emplace(*leaders_, elements);
    // Pads are exchanged with the rows, and are not written: not from memory that never was.
    if (leads)
      Comm::memory_type::zero(area_->data(), static_cast<std::size_t>(elements) * sizeof(T));
    partials_.emplace(*members_, partial);
    areas_.emplace(*members_, area_->data());
  }

  [[nodiscard]] bool in_reach() const { return in_reach_; }
  void set_step(std::int64_t step) {
    if (members_) members_->set_step(step);
    if (leaders_) leaders_->set_step(step);
  }
  /// Throws if a wait for a member has failed.
  void check() {
    if (members_) members_->check();
  }
  /// By this rank's exchange with the other leaders.
  [[nodiscard]] std::uint64_t elements_moved() const {
    return leaders_ ? leaders_->elements_moved() : 0;
  }
  [[nodiscard]] HostExchange<T, Comm> view() {
    if (!in_reach_) return {};
    const bool leads = members_->rank() == 0;
    return {.members = &*members_,
            .leaders = leads ? &*leaders_ : nullptr,
            .hosts = hosts_,
            .host = host_,
            .blocks = blocks_,
            .partial = partials_->view(),
            .area = areas_->view(),
            .own_area = area_->data(),
            .ragged = &ragged_};
  }

 private:
  int hosts_, ranks_, host_;
  std::int64_t blocks_;
  bool in_reach_ = false;
  std::optional<Comm> members_, leaders_;
  std::optional<SharedBuffer<T, Comm>> area_;
  std::optional<PeerTable<T, Comm>> partials_, areas_;
  RaggedSizes ragged_;
};
template <Element T, class Comm>
class Hosts<T, Comm, false> {
 public:
  Hosts(Comm&, const GatherConfig&, T*) {}
  [[nodiscard]] bool in_reach() const { return false; }
  void set_step(std::int64_t) {}
  void check() {}
  [[nodiscard]] std::uint64_t elements_moved() const { return 0; }
  [[nodiscard]] HostExchange<T, Comm> view() { return {}; }
};

}  // namespace dpgather::detail
