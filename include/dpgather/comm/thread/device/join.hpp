// How ranks on device memory find one another.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/device/bodies.hpp>
#include <dpgather/comm/thread/device/seat.hpp>
#include <dpgather/comm/thread/thread_rank.hpp>

namespace dpgather::detail {

/// Lets `device` read the memory of `peer`; returns why it cannot.
[[nodiscard]] inline std::string enable_peer_access(int device, int peer) {
  if (device == peer) return {};
  int can = 0;
  cuda_check(cudaDeviceCanAccessPeer(&can, device, peer), "cudaDeviceCanAccessPeer");
  if (can == 0)
    return concat("device ", device, " cannot read the memory of device ", peer,
                  ", which ThreadComm needs; use NcclComm");
  const cudaError_t code = cudaDeviceEnablePeerAccess(peer, 0);
  if (code == cudaErrorPeerAccessAlreadyEnabled)
    static_cast<void>(cudaGetLastError());
  else
    cuda_check(code, "cudaDeviceEnablePeerAccess");
  return {};
}

/// Collective: this rank's seat and those of its peers, whose memory its device can then read. A
/// rank's device is the current one of its thread.
[[nodiscard]] inline std::vector<std::shared_ptr<DeviceSeat>> take_seats(ThreadRank& rank,
                                                                         int lanes) {
  ThreadHub& hub = *rank.hub;
  const ErrorContext at = rank.where("ThreadComm");
  require(hub.size() <= max_device_ranks, at, "size is ", hub.size(), ", on device memory at most ",
          max_device_ranks);
  require(lanes >= 1, at, "captured_streams is ", lanes, ", must be positive");
  auto mine = std::make_shared<DeviceSeat>();
  cuda_check(cudaGetDevice(&mine->device), "cudaGetDevice", at);
  static_cast<void>(stream_batch_mem_op());  // found now, not in the first capture
  if (rank.rank == 0) {
    mine->pool = std::make_shared<FlagPool>(hub.size(), lanes, hub.deadline());
    hub.on_parent_failure([weak = std::weak_ptr(mine->pool)] {
      if (const auto pool = weak.lock()) pool->free_waits();
    });
  }

  ThreadCall call;
  call.recv = &mine;
  hub.calls(rank.rank).assign(1, call);
  hub.enter(rank.rank, at);
  std::vector<std::shared_ptr<DeviceSeat>> seats;
  for (int r = 0; r < hub.size(); ++r)
    seats.push_back(*static_cast<std::shared_ptr<DeviceSeat>*>(hub.calls(r)[0].recv));
  hub.rejoin();

  try {
    if (hub.size() > 1) seats[0]->pool->add_brake(rank.rank);
    for (const auto& theirs : seats) {
      mine->refused = enable_peer_access(mine->device, theirs->device);
      if (!mine->refused.empty()) break;
    }
  } catch (const std::exception& error) {
    mine->refused = error.what();
  }
  hub.enter(rank.rank, at);
  std::string text;
  for (int r = 0; r < hub.size(); ++r)
    if (const auto& why = seats[static_cast<std::size_t>(r)]->refused; !why.empty())
      text += concat(text.empty() ? "" : "; ", "rank ", r, ": ", why);
  hub.rejoin();
  require(text.empty(), at, text);
  return seats;
}

}  // namespace dpgather::detail
