// Where a rank is, and whether its GPU reaches those of the others.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <span>
#include <string>

#include <unistd.h>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/hash.hpp>

namespace dpgather::detail {

/// Of one rank, as int64 for an all-gather. `bus` is the id of its device on the PCI bus, in text.
struct IpcSite {
  static constexpr std::size_t words = 6;
  std::int64_t host = 0;
  std::int64_t token = 0;  // rank 0's names what they share
  std::array<char, 32> bus = {};
};
static_assert(sizeof(IpcSite) == IpcSite::words * sizeof(std::int64_t));

/// The same for processes that run on one machine, since its start, and see each other's ids.
[[nodiscard]] inline std::int64_t host_identity() {
  Hash hash;
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  std::array<char, 256> text = {};
  static_cast<void>(gethostname(text.data(), text.size() - 1));
  hash.add(boot).add(std::string_view(text.data()));
  text = {};
  if (readlink("/proc/self/ns/pid", text.data(), text.size() - 1) > 0)
    hash.add(std::string_view(text.data()));
  return static_cast<std::int64_t>(hash.value());
}

[[nodiscard]] inline IpcSite own_site(int device, std::int64_t host) {
  IpcSite site;
  site.host = host != 0 ? host : host_identity();
  std::random_device random;
  site.token = static_cast<std::int64_t>(static_cast<std::uint64_t>(random()) << 32U | random());
  cuda_check(cudaDeviceGetPCIBusId(site.bus.data(), static_cast<int>(site.bus.size()) - 1, device),
             "cudaDeviceGetPCIBusId");
  return site;
}

/// Why two ranks cannot reach each other; 0 if they can.
enum class Apart : std::int64_t { no, hosts, hidden, links };

/// Judges this rank's device against that of one peer.
[[nodiscard]] inline Apart judge_peer(const IpcSite& own, const IpcSite& peer, int device) {
  if (own.host != peer.host) return Apart::hosts;
  int theirs = 0;
  if (cudaDeviceGetByPCIBusId(&theirs, peer.bus.data()) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return Apart::hidden;
  }
  if (theirs == device) return Apart::no;
  int can = 0;
  cuda_check(cudaDeviceCanAccessPeer(&can, device, theirs), "cudaDeviceCanAccessPeer");
  return can != 0 ? Apart::no : Apart::links;
}

[[nodiscard]] inline bool share_a_gpu(std::span<const IpcSite> sites) {
  for (std::size_t i = 0; i < sites.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (sites[i].host == sites[j].host && sites[i].bus == sites[j].bus) return true;
  return false;
}

/// The first peer that is out of reach, or -1, and why.
struct Obstacle {
  std::int64_t peer = -1;
  Apart why = Apart::no;
};
[[nodiscard]] inline Obstacle find_obstacle(std::span<const IpcSite> sites, int rank, int device) {
  for (std::size_t peer = 0; peer < sites.size(); ++peer) {
    if (peer == static_cast<std::size_t>(rank)) continue;
    const Apart why = judge_peer(sites[static_cast<std::size_t>(rank)], sites[peer], device);
    if (why != Apart::no) return {static_cast<std::int64_t>(peer), why};
  }
  return {};
}

/// The same text on all ranks.
[[nodiscard]] inline std::string text_of(std::span<const IpcSite> sites, std::int64_t rank,
                                         const Obstacle& obstacle) {
  const auto bus = [&](std::int64_t of) {
    return std::string(sites[static_cast<std::size_t>(of)].bus.data());
  };
  const std::string pair = concat("rank ", rank, " (GPU ", bus(rank), ") and rank ", obstacle.peer,
                                  " (GPU ", bus(obstacle.peer), ")");
  switch (obstacle.why) {
    case Apart::hosts:
      return concat(pair, " are on different hosts or in different containers");
    case Apart::hidden:
      return concat(pair,
                    ": the second's GPU is not visible to the first, see CUDA_VISIBLE_DEVICES");
    case Apart::links:
      return concat(pair, " cannot read each other's memory");
    case Apart::no:
      break;
  }
  return {};
}

}  // namespace dpgather::detail
