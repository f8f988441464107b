// Stream memory operations: what orders streams where events cannot, inside captures.
#pragma once

#include <array>
#include <cstdint>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/stream.hpp>

namespace dpgather::detail {

/// What a flag holds. Waits test one bit, so that one value frees every wait.
struct Flag {
  static constexpr std::uint32_t set = 1, clear = 2, freed = 3;
};

/// The driver's call, found at run time: nobody links libcuda for it.
[[nodiscard]] inline auto stream_batch_mem_op() {
  using Call = decltype(&cuStreamBatchMemOp);
  static const Call call = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    cuda_check(cudaGetDriverEntryPointByVersion("cuStreamBatchMemOp", &found, 12000,
                                                cudaEnableDefault, &result),
               "cudaGetDriverEntryPointByVersion(cuStreamBatchMemOp)");
#else
    cuda_check(cudaGetDriverEntryPoint("cuStreamBatchMemOp", &found, cudaEnableDefault, &result),
               "cudaGetDriverEntryPoint(cuStreamBatchMemOp)");
#endif
    require(
        result == cudaDriverEntryPointSuccess && found != nullptr, {},
        "the driver has no cuStreamBatchMemOp, which orders the streams of ranks that may share "
        "a GPU: it needs a driver for CUDA 12.0 or newer");
    return reinterpret_cast<Call>(found);
  }();
  return call;
}

/// Writes and waits that a stream does one after another; one node of a graph.
class StreamMemoryBatch {
 public:
  /// What this rank's stream wrote before is seen by all that see the write.
  void write(std::uint32_t* flag, std::uint32_t value) {
    auto& op = next();
    op.writeValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32,
                     .address = reinterpret_cast<CUdeviceptr>(flag),
                     .value = value,
                     .flags = CU_STREAM_WRITE_VALUE_DEFAULT,
                     .alias = 0};
  }
  /// Until a bit of `bits` is there.
  void wait(std::uint32_t* flag, std::uint32_t bits) {
    auto& op = next();
    op.waitValue = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32,
                    .address = reinterpret_cast<CUdeviceptr>(flag),
                    .value = bits,
                    .flags = CU_STREAM_WAIT_VALUE_AND,
                    .alias = 0};
  }
  void submit(CudaStream stream) {
    const CUresult result = stream_batch_mem_op()(stream.get(), number_, ops_.data(), 0);
    number_ = 0;
    require(
        result != CUDA_ERROR_NOT_SUPPORTED, {},
        "this device has no stream memory operations, which order captured calls and ranks that "
        "share a GPU: use eager calls of ThreadComm on it");
    // The runtime's codes are the driver's.
    cuda_check(static_cast<cudaError_t>(result), "cuStreamBatchMemOp");
  }

 private:
  CUstreamBatchMemOpParams& next() {
    CUstreamBatchMemOpParams& op = ops_.at(number_++);
    op = {};
    return op;
  }
  std::array<CUstreamBatchMemOpParams, 255> ops_;  // the most that the driver takes
  unsigned number_ = 0;
};

}  // namespace dpgather::detail
