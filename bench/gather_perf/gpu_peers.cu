#include <string>

#include <dpgather/cuda.cuh>

#include "gpu_peer.hpp"

namespace gather_perf {

namespace {

/// With a reason if there are fewer GPUs than ranks.
bool enough_gpus(int ranks, std::string& why) {
  int gpus = 0;
  if (cudaGetDeviceCount(&gpus) != cudaSuccess) gpus = 0, static_cast<void>(cudaGetLastError());
  if (gpus >= ranks) return true;
  why =
      std::to_string(ranks) + " ranks need a GPU each, this machine shows " + std::to_string(gpus);
  return false;
}

}  // namespace

PeerPtr nccl_peer(int ranks, std::string& why) {
  return enough_gpus(ranks, why) ? std::make_unique<GpuPeer<MakeNcclComm>>(ranks) : nullptr;
}
PeerPtr thread_gpu_peer(int ranks, std::string& why) {
  return enough_gpus(ranks, why) ? std::make_unique<GpuPeer<MakeThreadComm>>(ranks) : nullptr;
}
PeerPtr copy_gpu_peer(int ranks, std::string& why) {
  return enough_gpus(ranks, why) ? std::make_unique<GpuCopyPeer>() : nullptr;
}

}  // namespace gather_perf
