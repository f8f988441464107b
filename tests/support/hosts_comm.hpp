// Threads as if on several hosts: memory is reached on one's own host only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include <dpgather/comm/thread.hpp>

namespace test {

/// A barrier of ranks that do not reach each other fails, so that no such use goes unseen.
class HostsComm : public dpgather::ThreadComm<> {
 public:
  /// Collective over `comm`; `host` is this rank's.
  HostsComm(dpgather::ThreadComm<> comm, int host)
      : dpgather::ThreadComm<>(std::move(comm)), host_(host) {
    std::vector<std::int32_t> hosts(static_cast<std::size_t>(size()));
    const std::int32_t own = host;
    all_gather(&own, hosts.data(), 1, dpgather::HostStream{});
    in_reach_ = std::all_of(hosts.begin(), hosts.end(), [&](auto other) { return other == own; });
  }
  [[nodiscard]] bool peers_in_reach() const { return in_reach_; }
  void barrier(dpgather::HostStream stream) {
    dpgather::require(in_reach_, {.rank = rank(), .operation = "barrier"},
                      "peers are out of reach: they are on several hosts");
    dpgather::ThreadComm<>::barrier(stream);
  }
  [[nodiscard]] HostsComm split(int color, int key) {
    return {dpgather::ThreadComm<>::split(color, key), host_};
  }

 private:
  int host_;
  bool in_reach_ = false;
};

static_assert(dpgather::PeerCommunicator<HostsComm>);

}  // namespace test
