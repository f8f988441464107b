// Memory of a GPU, and of the host as a GPU sees it.
#pragma once

#include <cstddef>
#include <cstring>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/memory.hpp>

namespace dpgather {

/// Pinned host memory that host and device read and write at one address. What a kernel wrote is
/// there once the host has synchronised with its stream.
struct PinnedMemory {
  using stream_type = CudaStream;
  using visible_type = PinnedMemory;
  static constexpr const char* name = "pinned";
  static constexpr std::size_t alignment = 256;

  [[nodiscard]] static void* allocate(std::size_t bytes) {
    void* data = nullptr;
    detail::cuda_check(cudaHostAlloc(&data, bytes, cudaHostAllocMapped | cudaHostAllocPortable),
                       "cudaHostAlloc");
    return data;
  }
  static void deallocate(void* data) noexcept {
    detail::cuda_report(cudaFreeHost(data), "cudaFreeHost");
  }
  static void zero(void* data, std::size_t bytes) { std::memset(data, 0, bytes); }
};

/// Memory of the current device; contents are undefined at first. Without a stream it is
/// `cudaMalloc`'s, which peers can be given access to: for buffers that live long. With one it is
/// stream-ordered: ready and freed in the order of that stream, which must outlive it.
struct DeviceMemory {
  using stream_type = CudaStream;
  using visible_type = PinnedMemory;
  static constexpr const char* name = "device";
  static constexpr std::size_t alignment = 256;

  [[nodiscard]] static void* allocate(std::size_t bytes) {
    void* data = nullptr;
    detail::cuda_check(cudaMalloc(&data, bytes), "cudaMalloc");
    return data;
  }
  static void deallocate(void* data) noexcept { detail::cuda_report(cudaFree(data), "cudaFree"); }
  static void zero(void* data, std::size_t bytes) {
    detail::cuda_check(cudaMemset(data, 0, bytes), "cudaMemset");
    detail::cuda_check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  }

  [[nodiscard]] static void* allocate(std::size_t bytes, CudaStream stream) {
    void* data = nullptr;
    detail::cuda_check(cudaMallocAsync(&data, bytes, stream.get()), "cudaMallocAsync");
    return data;
  }
  static void deallocate(void* data, CudaStream stream) noexcept {
    detail::cuda_report(cudaFreeAsync(data, stream.get()), "cudaFreeAsync");
  }
};

static_assert(MemorySpace<PinnedMemory> && StreamOrderedMemory<DeviceMemory>);

}  // namespace dpgather
