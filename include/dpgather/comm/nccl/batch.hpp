// The collective calls of a group, or one alone: kept until all are known, then made together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <dpgather/comm/argument_checks.hpp>
#include <dpgather/comm/call.hpp>
#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/comm/nccl/link.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather::detail {

/// `count` and `root` are the concept's; of a v-call, `blocks` says where its counts and offsets
/// are.
struct NcclCall {
  Collective op = Collective::none;
  DType dtype = DType::float32;
  int root = 0;
  std::int64_t count = 0;
  std::size_t blocks = 0;
  const void* send = nullptr;
  void* recv = nullptr;
};

/// NCCL cannot cancel a group, so nothing is told to it before `issue`. Keeps its memory.
class NcclBatch {
 public:
  NcclBatch(int rank, int size) : rank_(rank), size_(size) { calls_.reserve(8); }

  void clear() {
    calls_.clear();
    blocks_.clear();
    moved_ = 0;
  }
  [[nodiscard]] bool empty() const { return calls_.empty(); }
  [[nodiscard]] std::string_view operation() const {
    return calls_.size() == 1 ? name(calls_[0].op) : "group";
  }
  /// Elements that this rank receives or reads in all of them.
  [[nodiscard]] std::uint64_t moved() const { return moved_; }

  /// Calls of nothing are dropped, on all ranks alike: NCCL would discard them too.
  void add(const NcclCall& call) {
    if (call.count == 0) return;
    calls_.push_back(call);
    moved_ += static_cast<std::uint64_t>(moved_by(call));
  }
  /// Of equal blocks end to end, the plain collective.
  void add_v(NcclCall call, Counts counts, Counts offsets) {
    if (sum_of(counts) == 0) return;
    if (is_even(counts, offsets)) {
      const bool gathers = call.op == Collective::all_gather_v;
      call.op = gathers ? Collective::all_gather : Collective::reduce_scatter;
      call.count = counts[0];
      if (gathers)
        call.recv = at(call.recv, offsets[0], call.dtype);
      else
        call.send = at(call.send, offsets[0], call.dtype);
      return add(call);
    }
    call.blocks = blocks_.size();
    blocks_.insert(blocks_.end(), counts.begin(), counts.end());
    blocks_.insert(blocks_.end(), offsets.begin(), offsets.end());
    call.count = sum_of(counts);
    add(call);
  }

  [[nodiscard]] NcclResult issue(ncclComm_t comm, CudaStream stream) const {
    if (calls_.size() == 1 && !is_v(calls_[0])) return make(calls_[0], comm, stream);
    if (const ncclResult_t code = ncclGroupStart(); code != ncclSuccess)
      return {code, "ncclGroupStart"};
    NcclResult first;
    for (const NcclCall& call : calls_) {
      first = make(call, comm, stream);
      if (is_error(first.code)) break;
    }
    const ncclResult_t code = ncclGroupEnd();  // ends a group that failed, too
    return is_error(first.code) ? first : NcclResult{code, "ncclGroupEnd"};
  }

 private:
  static bool is_error(ncclResult_t code) { return code != ncclSuccess && code != ncclInProgress; }
  static bool is_v(const NcclCall& call) {
    return call.op == Collective::all_gather_v || call.op == Collective::reduce_scatter_v;
  }
  static const void* at(const void* data, std::int64_t element, DType dtype) {
    return static_cast<const std::byte*>(data) + element * bytes_of(dtype);
  }
  static void* at(void* data, std::int64_t element, DType dtype) {
    return static_cast<std::byte*>(data) + element * bytes_of(dtype);
  }
  static bool is_even(Counts counts, Counts offsets) {
    for (std::size_t i = 1; i < counts.size(); ++i)
      if (counts[i] != counts[0] || offsets[i] != offsets[i - 1] + counts[0]) return false;
    return true;
  }
  [[nodiscard]] std::int64_t moved_by(const NcclCall& call) const {
    switch (call.op) {
      case Collective::all_gather:
      case Collective::reduce_scatter:
        return size_ * call.count;
      case Collective::all_reduce:  // as if each rank summed its part and fetched the others
        return (call.count * (rank_ + 1) / size_ - call.count * rank_ / size_) * size_ + call.count;
      case Collective::reduce_scatter_v:
        return size_ * blocks_[call.blocks + static_cast<std::size_t>(rank_)];
      default:
        return call.count;
    }
  }

  [[nodiscard]] NcclResult make(const NcclCall& call, ncclComm_t comm, CudaStream stream) const {
    const ncclDataType_t type = nccl::datatype(call.dtype);
    const auto count = static_cast<std::size_t>(call.count);
    switch (call.op) {
      case Collective::all_gather:
        return {ncclAllGather(call.send, call.recv, count, type, comm, stream.get()),
                "ncclAllGather"};
      case Collective::all_reduce:
        return {ncclAllReduce(call.send, call.recv, count, type, ncclSum, comm, stream.get()),
                "ncclAllReduce"};
      case Collective::reduce_scatter:
        return {ncclReduceScatter(call.send, call.recv, count, type, ncclSum, comm, stream.get()),
                "ncclReduceScatter"};
      case Collective::broadcast:
        return {ncclBroadcast(call.send, call.recv, count, type, call.root, comm, stream.get()),
                "ncclBroadcast"};
      case Collective::all_gather_v:
      case Collective::reduce_scatter_v:
        return make_v(call, comm, stream);
      default:
        return {ncclInvalidUsage, name(call.op)};
    }
  }
  /// One broadcast from, or one reduce to, each rank that has rows, in rank order: one launch. Other
  /// ranks' source (of a broadcast) and target (of a reduce) are not touched.
  [[nodiscard]] NcclResult make_v(const NcclCall& call, ncclComm_t comm, CudaStream stream) const {
    const ncclDataType_t type = nccl::datatype(call.dtype);
    NcclResult result;
    for (int r = 0; r < size_ && !is_error(result.code); ++r) {
      const auto i = call.blocks + static_cast<std::size_t>(r);
      const auto count = static_cast<std::size_t>(blocks_[i]);
      if (count == 0) continue;
      const std::int64_t offset = blocks_[i + static_cast<std::size_t>(size_)];
      if (call.op == Collective::all_gather_v) {
        void* const block = at(call.recv, offset, call.dtype);
        result = {ncclBroadcast(r == rank_ ? call.send : block, block, count, type, r, comm,
                                stream.get()),
                  "ncclBroadcast"};
      } else {
        const void* const block = at(call.send, offset, call.dtype);
        void* const target = r == rank_ ? call.recv : const_cast<void*>(block);
        result = {ncclReduce(block, target, count, type, ncclSum, r, comm, stream.get()),
                  "ncclReduce"};
      }
    }
    return result;
  }

  const int rank_;
  const int size_;
  std::vector<NcclCall> calls_;
  std::vector<std::int64_t> blocks_;  // of v-calls: [size] counts, then [size] offsets
  std::uint64_t moved_ = 0;
};

}  // namespace dpgather::detail
