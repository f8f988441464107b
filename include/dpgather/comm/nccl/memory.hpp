// NcclMemory: device memory that can become a window of a communicator.
#pragma once

#include <cstddef>

#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/memory.hpp>

namespace dpgather {

/// Memory of the current device by ncclMemAlloc: what NCCL can register so that peers read and
/// write it without copies. In chunks of some 2 MB, so for few and large buffers. Contents are
/// undefined at first. NCCL 2.18 has no such call: there it is cudaMalloc's.
struct NcclMemory {
  using stream_type = CudaStream;
  using visible_type = PinnedMemory;
  static constexpr const char* name = "nccl";
  static constexpr std::size_t alignment = 256;

  [[nodiscard]] static void* allocate(std::size_t bytes) {
#if DPGATHER_NCCL_HAS_MEMORY
    void* data = nullptr;
    nccl::check(ncclMemAlloc(&data, bytes), "ncclMemAlloc");
    return data;
#else
    return DeviceMemory::allocate(bytes);
#endif
  }
  /// Waits for the device's work first, as cudaFree does and ncclMemFree does not.
  static void deallocate(void* data) noexcept {
#if DPGATHER_NCCL_HAS_MEMORY
    detail::cuda_report(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const ncclResult_t code = ncclMemFree(data);
    if (code == ncclSuccess) return;
    try {
      nccl::report(nccl::error_text(code, "ncclMemFree"));
    } catch (...) {
    }
#else
    DeviceMemory::deallocate(data);
#endif
  }
  static void zero(void* data, std::size_t bytes) {
    DeviceMemory::zero(data, bytes);
  }
};

static_assert(MemorySpace<NcclMemory>);

}  // namespace dpgather
