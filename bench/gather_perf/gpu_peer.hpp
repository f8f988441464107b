// Ranks that are threads with a GPU each. Who includes this brings `launch` on CUDA streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <dpgather/comm/nccl.hpp>
#include <dpgather/comm/thread/thread_control.hpp>
#include <dpgather/comm/thread_device.hpp>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/own_stream.hpp>

#include "copied_blocks.hpp"
#include "of_communicator.hpp"
#include "peers.hpp"
#include "support/transfer_cuda.hpp"

namespace gather_perf {

/// Makes each rank's communicator on its first call, on the GPU of the rank's number: by
/// `MakeComm{}(board, hub, rank)`.
template <class MakeComm>
class GpuPeer final : public Peer {
 public:
  explicit GpuPeer(int ranks)
      : board_(std::make_shared<dpgather::ThreadControlBoard>(ranks)),
        hub_(std::make_shared<dpgather::ThreadHub>(ranks)),
        ranks_(static_cast<std::size_t>(ranks)) {}

  SubjectPtr make(const Case& of, Mode mode, int rank) override {
    auto& at = ranks_[static_cast<std::size_t>(rank)];
    if (!at) {
      dpgather::detail::cuda_check(cudaSetDevice(rank), "cudaSetDevice");
      at.emplace(MakeComm{}(board_, hub_, rank));
    }
    return make_subject(at->comm, of, mode, dpgather::CudaStream(at->stream));
  }

 private:
  using Comm = decltype(MakeComm{}(std::shared_ptr<dpgather::ThreadControlBoard>{},
                                   std::shared_ptr<dpgather::ThreadHub>{}, 0));
  struct Rank {
    explicit Rank(Comm made) : comm(std::move(made)) {}
    dpgather::OwnStream stream;
    Comm comm;
  };
  std::shared_ptr<dpgather::ThreadControlBoard> board_;
  std::shared_ptr<dpgather::ThreadHub> hub_;
  std::vector<std::optional<Rank>> ranks_;
};

struct MakeNcclComm {
  dpgather::NcclComm<> operator()(std::shared_ptr<dpgather::ThreadControlBoard> board,
                                  const std::shared_ptr<dpgather::ThreadHub>& hub, int rank) const {
    dpgather::ThreadControl control(std::move(board), rank);
    return {dpgather::share_by(control), rank, hub->size()};
  }
};
struct MakeThreadComm {
  dpgather::ThreadComm<dpgather::DeviceMemory> operator()(
      const std::shared_ptr<dpgather::ThreadControlBoard>&,
      std::shared_ptr<dpgather::ThreadHub> hub, int rank) const {
    return {std::move(hub), rank};
  }
};

/// Copies within the rank's GPU, of the bytes that a collective brings.
template <class T>
class GpuCopySubject final : public Subject {
 public:
  GpuCopySubject(const Case& of, int rank)
      : blocks_(of, rank), rank_(rank), from_(blocks_.total()), to_(blocks_.total()) {
    fill(from_.values(), blocks_.total(), rank, 0);
    from_.put(stream());
  }
  void run() override {
    blocks_.for_each([&](std::int64_t at, std::int64_t count) {
      dpgather::detail::cuda_check(cudaMemcpyAsync(to_.data() + at, from_.data() + at,
                                                   static_cast<std::size_t>(count) * sizeof(T),
                                                   cudaMemcpyDeviceToDevice, stream_.get()),
                                   "cudaMemcpyAsync");
    });
  }
  void finish() override { stream().synchronize(); }
  [[nodiscard]] std::int64_t wrong() override {
    to_.get(stream());
    return blocks_.count_wrong(to_.values(), rank_);
  }

 private:
  [[nodiscard]] dpgather::CudaStream stream() const { return dpgather::CudaStream(stream_); }

  CopiedBlocks blocks_;
  int rank_;
  dpgather::OwnStream stream_;
  Elements<T, dpgather::DeviceMemory> from_, to_;
};

class GpuCopyPeer final : public Peer {
 public:
  SubjectPtr make(const Case& of, Mode, int rank) override {
    if (of.what == What::barrier) return nullptr;
    dpgather::detail::cuda_check(cudaSetDevice(rank), "cudaSetDevice");
    return with_type(of.dtype, [&](auto zero) -> SubjectPtr {
      return std::make_unique<GpuCopySubject<decltype(zero)>>(of, rank);
    });
  }
};

}  // namespace gather_perf
