// Allocation.
#include "sim/api.hpp"
#include "sim/memory.hpp"

using namespace sim;

namespace {

cudaError_t allocate(void** out, std::size_t bytes, int device) {
  if (out == nullptr) return cudaErrorInvalidValue;
  *out = nullptr;
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  Allocation* const allocation = Memory::get().allocate(bytes, device);
  if (allocation == nullptr) return cudaErrorMemoryAllocation;
  *out = allocation->base;
  count(Count::allocation);
  progress();
  return cudaSuccess;
}

/// The live allocation that starts there, on a device or pinned.
Allocation* starting_at(void* pointer, bool on_device) {
  Allocation* const a = Memory::get().find(pointer);
  return a != nullptr && a->base == pointer && (a->device >= 0) == on_device ? a : nullptr;
}

cudaError_t release(void* pointer, bool on_device) {
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  Allocation* a = starting_at(pointer, on_device);
  if (a == nullptr || a->freeing) return cudaErrorInvalidValue;
  // Memory of a pool is not waited for; other memory waits for the whole device.
  if (!a->pooled && !ended()) {
    const int device = on_device ? a->device : current_device();
    if (const cudaError_t error = wait_for_device(device); error == cudaErrorLaunchTimeout)
      return error;
    a = starting_at(pointer, on_device);
    if (a == nullptr) return cudaErrorInvalidValue;
  }
  if (!ended()) check_not_mapped(*a);
  Memory::get().release(*a);
  progress();
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** out, std::size_t bytes) {
  return api("cudaMalloc", [&] { return allocate(out, bytes, current_device()); });
}
cudaError_t cudaFree(void* pointer) {
  return release_api("cudaFree", [&] { return release(pointer, true); });
}
cudaError_t cudaMallocHost(void** out, std::size_t bytes) {
  return api("cudaMallocHost", [&] { return allocate(out, bytes, -1); });
}
cudaError_t cudaHostAlloc(void** out, std::size_t bytes, unsigned) {
  return api("cudaHostAlloc", [&] { return allocate(out, bytes, -1); });
}
cudaError_t cudaFreeHost(void* pointer) {
  return release_api("cudaFreeHost", [&] { return release(pointer, false); });
}
cudaError_t cudaHostGetDevicePointer(void** out, void* host, unsigned) {
  return api("cudaHostGetDevicePointer", [&] {
    const Allocation* const a = Memory::get().find(host);
    if (out == nullptr || a == nullptr || a->device >= 0) return cudaErrorInvalidValue;
    *out = host;
    return cudaSuccess;
  });
}

cudaError_t cudaMallocAsync(void** out, std::size_t bytes, cudaStream_t handle) {
  return api("cudaMallocAsync", [&] {
    Stream* const stream = resolve(handle);
    if (out == nullptr) return cudaErrorInvalidValue;
    if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
    if (stream->capture != nullptr) return cudaErrorNotSupported;  // graph memory: not modelled
    *out = nullptr;
    if (bytes == 0) return cudaSuccess;
    Allocation* const a = Memory::get().allocate(bytes, stream->device);
    if (a == nullptr) return cudaErrorMemoryAllocation;
    a->pooled = true;
    a->available = append_marker(*stream);
    *out = a->base;
    count(Count::allocation);
    return cudaSuccess;
  });
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  return release_api("cudaFreeAsync", [&] {
    if (pointer == nullptr) return cudaSuccess;
    Stream* const stream = resolve(handle);
    Allocation* const a = starting_at(pointer, true);
    if (a == nullptr || a->freeing) return cudaErrorInvalidValue;
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) return cudaErrorNotSupported;
    a->freeing = true;
    const auto item = make_item({.name = "cudaFreeAsync",
                                 .kind = Count::event,
                                 .run =
                                     [pointer] {
                                       Allocation* const freed = Memory::get().find(pointer);
                                       if (freed != nullptr) Memory::get().release(*freed);
                                     }},
                                stream->device, "");
    count(Count::event, -1);
    append(*stream, item);
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* out, const void* pointer) {
  return api("cudaPointerGetAttributes", [&] {
    if (out == nullptr) return cudaErrorInvalidValue;
    *out = {};
    const Allocation* const a = Memory::get().find(pointer);
    out->type = a == nullptr    ? cudaMemoryTypeUnregistered
                : a->device < 0 ? cudaMemoryTypeHost
                                : cudaMemoryTypeDevice;
    out->device = a == nullptr || a->device < 0 ? current_device() : a->device;
    if (a != nullptr) out->devicePointer = const_cast<void*>(pointer);
    if (a != nullptr && a->device < 0) out->hostPointer = const_cast<void*>(pointer);
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return api("cudaMemGetInfo", [&] {
    if (free == nullptr || total == nullptr) return cudaErrorInvalidValue;
    *total = options().device_bytes;
    std::size_t used = Memory::get().used(current_device());
    // As on a GPU, an executable graph takes memory; how much is made up.
    for (const auto& exec : graph_execs().live())
      if (exec->device == current_device()) used += 65536 + 1024 * exec->nodes.size();
    *free = used < *total ? *total - used : 0;
    return cudaSuccess;
  });
}

}  // extern "C"
