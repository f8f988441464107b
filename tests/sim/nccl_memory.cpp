// Memory of ncclMemAlloc, registrations and windows.
#include "sim/nccl_memory.hpp"

#include <cstdint>
#include <map>
#include <memory>

#include "sim/memory.hpp"
#include "sim/nccl_group.hpp"

/// The opaque type of <nccl.h>.
struct ncclWindow_vidmem {
  ncclComm_t comm = nullptr;
  std::vector<std::size_t> offsets;  // by rank
  bool live = true;
};

namespace sim::nccl {
namespace {

struct Given {
  std::map<void*, std::size_t> allocations;  // bytes
  std::vector<std::unique_ptr<ncclWindow_vidmem>> windows;
  std::uintptr_t handles = 0;
};
Given& given() {
  return per_run<Given>();
}

ncclWindow_vidmem* find(ncclWindow_t window) {
  for (const auto& known : given().windows)
    if (known.get() == window && known->live) return known.get();
  return nullptr;
}

/// The base of the ncclMemAlloc allocation that holds all of the range, or null.
void* allocation_of(void* buffer, std::size_t size) {
  auto after = given().allocations.upper_bound(buffer);
  if (after == given().allocations.begin()) return nullptr;
  --after;
  const auto offset = static_cast<std::size_t>(static_cast<std::byte*>(buffer) -
                                               static_cast<std::byte*>(after->first));
  const std::size_t bytes = after->second;
  return offset <= bytes && size <= bytes - offset ? after->first : nullptr;
}

Job registration(ncclComm_t comm, void* buffer, std::size_t size, ncclWindow_t* window) {
  const std::string name = "ncclCommWindowRegister";
  const std::uint64_t number = comm->meetings[name]++;
  const auto meeting = [comm, name, number]() -> Meeting& {
    return comm->clique->meetings[{name, number}];
  };
  auto* const base = static_cast<std::byte*>(allocation_of(buffer, size));
  meeting().items[comm->rank] = {0, 0, size,
                                 static_cast<std::size_t>(static_cast<std::byte*>(buffer) - base)};
  Job job;
  job.name = name;
  job.step = [comm, meeting, size, window]() -> std::optional<ncclResult_t> {
    const auto& items = meeting().items;
    if (items.size() != static_cast<std::size_t>(comm->clique->size)) return std::nullopt;
    auto made = std::make_unique<ncclWindow_vidmem>();
    made->comm = comm;
    for (const auto& [rank, item] : items) {
      if (item.size != size)
        return fail(ncclInvalidArgument, "ncclCommWindowRegister: " + std::to_string(size) +
                                             " bytes on " + name_of(*comm) + ", " +
                                             std::to_string(item.size) + " on rank " +
                                             std::to_string(rank));
      made->offsets.push_back(item.offset);
    }
    *window = options().windows ? made.get() : nullptr;
    if (*window != nullptr) given().windows.push_back(std::move(made));
    return ncclSuccess;
  };
  job.waits_for = [comm, meeting] { return absent(*comm, meeting()); };
  return job;
}

Job deregistration(ncclComm_t comm, ncclWindow_t window) {
  const std::string name = "ncclCommWindowDeregister";
  const std::uint64_t number = comm->meetings[name]++;
  const auto meeting = [comm, name, number]() -> Meeting& {
    return comm->clique->meetings[{name, number}];
  };
  meeting().items[comm->rank] = {};
  Job job;
  job.name = name;
  job.step = [comm, meeting, window]() -> std::optional<ncclResult_t> {
    if (meeting().items.size() != static_cast<std::size_t>(comm->clique->size)) return std::nullopt;
    if (window != nullptr) window->live = false;
    return ncclSuccess;
  };
  job.waits_for = [comm, meeting] { return absent(*comm, meeting()); };
  return job;
}

}  // namespace

std::vector<std::string> left_of_memory() {
  std::vector<std::string> left;
  for (const auto& window : given().windows)
    if (window->live) left.push_back("a window of " + name_of(*window->comm));
  return left;
}

std::vector<std::size_t> offsets(ncclWindow_t window) {
  const Turn turn;
  const ncclWindow_vidmem* const known = find(window);
  return known == nullptr ? std::vector<std::size_t>{} : known->offsets;
}

}  // namespace sim::nccl

using namespace sim::nccl;

extern "C" {

ncclResult_t ncclMemAlloc(void** ptr, size_t size) {
  return simple_call("ncclMemAlloc", 21900, [&] {
    if (ptr == nullptr) return fail(ncclInvalidArgument, "ncclMemAlloc: ptr is null");
    if (sim::options().devices == 0) return fail(ncclUnhandledCudaError, "ncclMemAlloc: no device");
    sim::Allocation* const made = sim::Memory::get().allocate(size, sim::current_device());
    if (made == nullptr)
      return fail(ncclUnhandledCudaError,
                  "ncclMemAlloc: no room for " + std::to_string(size) + " bytes");
    sim::count(sim::Count::allocation);
    given().allocations[made->base] = size;
    *ptr = made->base;
    return ncclSuccess;
  });
}

ncclResult_t ncclMemFree(void* ptr) {
  return simple_call("ncclMemFree", 21900, [&] {
    if (ptr == nullptr) return ncclSuccess;
    if (given().allocations.erase(ptr) == 0)
      return fail(ncclInvalidArgument, "ncclMemFree: not from ncclMemAlloc, or freed before");
    if (sim::Allocation* const known = sim::Memory::get().find(ptr))
      sim::Memory::get().release(*known);
    return ncclSuccess;
  });
}

ncclResult_t ncclCommRegister(const ncclComm_t comm, void* buff, size_t size, void** handle) {
  return simple_call("ncclCommRegister", 21900, [&] {
    const ncclResult_t ready = check_ready(comm, "ncclCommRegister");
    if (ready != ncclSuccess) return ready;
    if (handle == nullptr || size == 0 || !sim::is_device_accessible(buff, size))
      return fail(ncclInvalidArgument, "ncclCommRegister: no handle, or no device memory");
    *handle = reinterpret_cast<void*>(++given().handles);
    comm->registered[*handle] = size;
    return ncclSuccess;
  });
}

ncclResult_t ncclCommDeregister(const ncclComm_t comm, void* handle) {
  return simple_call("ncclCommDeregister", 21900, [&] {
    const ncclResult_t ready = check_ready(comm, "ncclCommDeregister");
    if (ready != ncclSuccess) return ready;
    if (comm->registered.erase(handle) == 0)
      return fail(ncclInvalidArgument, "ncclCommDeregister: no such handle of this communicator");
    return ncclSuccess;
  });
}

ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win,
                                    int /*winFlags*/) {
  return group_call("ncclCommWindowRegister", 22700, [&] {
    const ncclResult_t ready = check_ready(comm, "ncclCommWindowRegister");
    if (ready != ncclSuccess) return ready;
    if (win == nullptr || size == 0)
      return fail(ncclInvalidArgument, "ncclCommWindowRegister: win is null or size is 0");
    if (allocation_of(buff, size) == nullptr)
      return fail(ncclInvalidArgument, "ncclCommWindowRegister: not memory of ncclMemAlloc");
    *win = nullptr;
    group().jobs.emplace_back(comm, registration(comm, buff, size, win));
    return ncclSuccess;
  });
}

ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win) {
  return group_call("ncclCommWindowDeregister", 22700, [&] {
    const ncclResult_t ready = check_ready(comm, "ncclCommWindowDeregister");
    if (ready != ncclSuccess) return ready;
    if (win != nullptr && (find(win) == nullptr || win->comm != comm))
      return fail(ncclInvalidArgument, "ncclCommWindowDeregister: no window of this communicator");
    if (win != nullptr) group().jobs.emplace_back(comm, deregistration(comm, win));
    return ncclSuccess;
  });
}

}  // extern "C"
