// Runs W * A ranks on GPUs, real or simulated: threads with a stream each, over NCCL or ThreadComm.
#pragma once

#include <memory>
#include <utility>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/nccl/nccl_comm.hpp>
#include <dpgather/comm/thread.hpp>
#include <dpgather/comm/thread_device.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/core/cuda/stream.hpp>

#include "support/ranks.hpp"

namespace test {

/// What all ranks of a run share. `devices` GPUs are taken in turn.
template <class Comm>
struct DeviceWorld;

template <dpgather::MemorySpace Memory, dpgather::CheckLevel Checks>
struct DeviceWorld<dpgather::NcclComm<Memory, Checks>> {
  using Comm = dpgather::NcclComm<Memory, Checks>;
  explicit DeviceWorld(const dpgather::DpLayout& l, dpgather::NcclOptions o = {})
      : layout(l), options(o), board(std::make_shared<dpgather::ThreadControlBoard>(l.world())) {}
  [[nodiscard]] Comm join(int rank, dpgather::ThreadControl& control) const {
    return Comm(dpgather::share_by(control), rank, layout.world(), options);
  }
  dpgather::DpLayout layout;
  dpgather::NcclOptions options;
  std::shared_ptr<dpgather::ThreadControlBoard> board;
};

template <dpgather::CheckLevel Checks>
struct DeviceWorld<dpgather::ThreadComm<dpgather::DeviceMemory, Checks>> {
  using Comm = dpgather::ThreadComm<dpgather::DeviceMemory, Checks>;
  explicit DeviceWorld(const dpgather::DpLayout& l)
      : layout(l),
        hub(std::make_shared<dpgather::ThreadHub>(l.world())),
        board(std::make_shared<dpgather::ThreadControlBoard>(l.world())) {}
  [[nodiscard]] Comm join(int rank, dpgather::ThreadControl&) const { return Comm(hub, rank); }
  dpgather::DpLayout layout;
  std::shared_ptr<dpgather::ThreadHub> hub;
  std::shared_ptr<dpgather::ThreadControlBoard> board;
};

/// One rank's thread: joins `world` on its GPU and runs `f(RankOf<Comm>&)`.
template <class Comm, class F>
void run_device_rank(const DeviceWorld<Comm>& world, int rank, int devices, const F& f) {
  dpgather::detail::cuda_check(cudaSetDevice(rank % devices), "cudaSetDevice");
  dpgather::ThreadControl control(world.board, rank);
  const dpgather::OwnStream stream;
  Comm comm = world.join(rank, control);
  dpgather::StepAgreement agreement(control, world.layout);
  RankOf<Comm> mine{comm, control, agreement, world.layout, dpgather::CudaStream(stream.get())};
  f(mine);
}

}  // namespace test
