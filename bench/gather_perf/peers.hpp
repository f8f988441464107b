// Those who are measured: for each communicator, what makes one rank's subject of a case.
#pragma once

#include <memory>
#include <string>

#include "case.hpp"
#include "subject.hpp"
#include "world.hpp"

namespace gather_perf {

/// A communicator on one world. `make` is called by all ranks of the world together; null where it
/// has no such call.
class Peer {
 public:
  Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  virtual ~Peer() = default;
  virtual SubjectPtr make(const Case& of, Mode mode, int rank) = 0;
};
using PeerPtr = std::unique_ptr<Peer>;

/// ThreadComm, and the same threads that copy between private buffers and never meet.
[[nodiscard]] PeerPtr thread_peer(int ranks);
[[nodiscard]] PeerPtr copy_peer();
/// Gloo over TCP on the loopback device; null where this program was built without it.
[[nodiscard]] PeerPtr gloo_peer(int ranks);
/// NcclComm, ThreadComm<DeviceMemory>, and copies within a GPU, with a GPU for each thread. Null, with
/// the reason in `why`, where this program was built without them or there are too few GPUs.
[[nodiscard]] PeerPtr nccl_peer(int ranks, std::string& why);
[[nodiscard]] PeerPtr thread_gpu_peer(int ranks, std::string& why);
[[nodiscard]] PeerPtr copy_gpu_peer(int ranks, std::string& why);
/// MpiComm, and MPI's own blocking calls; null where this program was built without MPI.
[[nodiscard]] PeerPtr mpi_peer();
[[nodiscard]] PeerPtr open_mpi_peer();

}  // namespace gather_perf
