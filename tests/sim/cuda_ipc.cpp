// Memory of one process in another: each rank counts as a process. What a rank maps has an address
// of its own, so that an address of the owner's is not taken for one that works everywhere.
#include <cstring>
#include <map>
#include <utility>

#include "sim/api.hpp"
#include "sim/memory.hpp"

using namespace sim;

namespace sim {
namespace {

/// In a cudaIpcMemHandle_t.
struct Exported {
  std::uint64_t mark = 0;
  std::uint64_t id = 0;  // of the allocation
  void* base = nullptr;
  int rank = -1;
};
static_assert(sizeof(Exported) <= sizeof(cudaIpcMemHandle_t));
constexpr std::uint64_t exported_mark = 0x6970635f68616e64;

struct Mapping {
  Exported of;
  int rank = -1;
  int device = 0;
  int opened = 0;  // so many times
  unsigned char* at = nullptr;
};

std::vector<Mapping>& mappings() {
  static auto* const all = new std::vector<Mapping>;
  return *all;
}

[[maybe_unused]] const bool dropped_each_run = [] {
  on_reset([] {
    for (const Mapping& m : mappings()) Memory::get().unmap_again(m.at);
    mappings().clear();
  });
  return true;
}();

}  // namespace

void leaks_of_mappings(std::vector<std::string>& leaks) {
  for (const Mapping& m : mappings())
    leaks.push_back("mapping of memory of rank " + std::to_string(m.of.rank) + " by rank " +
                    std::to_string(m.rank));
}

void check_not_mapped(const Allocation& freed) {
  const auto stops = [](int rank) {
    for (const Fault& fault : options().faults)
      if (fault.stops && fault.rank == rank) return true;
    return false;
  };
  for (const Mapping& m : mappings())
    if (m.of.id == freed.id && !stops(m.rank))
      violation(freed.name() + " was freed while rank " + std::to_string(m.rank) + " maps it");
}

}  // namespace sim

extern "C" {

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  return api("cudaIpcGetMemHandle", [&] {
    const Allocation* const a = Memory::get().find(pointer);
    if (handle == nullptr || a == nullptr || a->base != pointer || a->device < 0 || a->pooled ||
        a->rank != rank())
      return cudaErrorInvalidValue;
    const Exported exported{exported_mark, a->id, a->base, a->rank};
    *handle = {};
    std::memcpy(handle, &exported, sizeof exported);
    return cudaSuccess;
  });
}

cudaError_t cudaIpcOpenMemHandle(void** out, cudaIpcMemHandle_t handle, unsigned flags) {
  return api("cudaIpcOpenMemHandle", [&] {
    if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
    Exported of;
    std::memcpy(static_cast<void*>(&of), &handle, sizeof of);
    if (out == nullptr || flags != cudaIpcMemLazyEnablePeerAccess || of.mark != exported_mark)
      return cudaErrorInvalidValue;
    if (of.rank == rank()) return cudaErrorDeviceUninitialized;  // a process's own
    const Allocation* const a = Memory::get().find(of.base);
    if (a == nullptr || a->id != of.id) return cudaErrorInvalidResourceHandle;
    if (a->device != current_device() && !reach_each_other(a->device, current_device()))
      return cudaErrorMapBufferObjectFailed;
    for (Mapping& m : mappings())
      if (m.of.id == of.id && m.rank == rank() && m.device == current_device()) {
        ++m.opened;
        *out = m.at;
        return cudaSuccess;
      }
    unsigned char* const at = Memory::get().map_again(*a);
    if (at == nullptr) return cudaErrorMemoryAllocation;
    mappings().push_back({of, rank(), current_device(), 1, at});
    *out = at;
    progress();
    return cudaSuccess;
  });
}

cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  return release_api("cudaIpcCloseMemHandle", [&] {
    for (auto it = mappings().begin(); it != mappings().end(); ++it) {
      if (it->at != pointer || it->rank != rank()) continue;
      if (--it->opened > 0) return cudaSuccess;
      Memory::get().unmap_again(it->at);
      mappings().erase(it);
      progress();
      return cudaSuccess;
    }
    return cudaErrorInvalidValue;
  });
}

}  // extern "C"
