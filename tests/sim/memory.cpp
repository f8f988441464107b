#include "sim/memory.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

extern "C" {
// There in programs built with AddressSanitizer.
__attribute__((weak)) void __asan_poison_memory_region(const volatile void*, std::size_t);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void*, std::size_t);
}

namespace sim {
namespace {

constexpr std::size_t guard = 256;
constexpr unsigned char guard_byte = 0xA5;
constexpr unsigned char poison = 0xFF;
constexpr std::size_t arena_bytes = std::size_t{1} << 32;

std::size_t round_up(std::size_t n) {
  return (n + guard - 1) / guard * guard;
}
std::uintptr_t address(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p);
}

void shut(const unsigned char* at, std::size_t bytes) {
  if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(at, bytes);
}
void open(const unsigned char* at, std::size_t bytes) {
  if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(at, bytes);
}

// Who may touch the arena is a right of each thread where the processor has protection keys, else of
// the whole process.
int key = -1;
unsigned char* arena_base = nullptr;
int arena_file = -1;
// Behind the arena lie second addresses of its memory.
unsigned char* again_base() {
  return arena_base + arena_bytes;
}
bool is_again(const void* p) {
  return address(p) >= address(again_base()) && address(p) < address(again_base()) + arena_bytes;
}
int openings = 0;  // of the process

struct sigaction previous;

void on_fault(int signal, siginfo_t* info, void*) {
  const auto* const at = static_cast<const unsigned char*>(info->si_addr);
  if (at >= arena_base && at < arena_base + 2 * arena_bytes) {
    const Allocation* const a = Memory::get().near(at);
    char text[300];
    const int n = std::snprintf(
        text, sizeof text, "sim: host code of rank %d touched device memory: %s, at byte %td\n",
        rank(), a == nullptr ? "no allocation" : a->name().c_str(),
        a == nullptr ? 0 : at - a->base);
    if (write(2, text, static_cast<std::size_t>(n)) < 0) _exit(1);
    std::abort();
  }
  sigaction(signal, &previous, nullptr);  // and fault again
}

/// Anew each run and allocation: test frameworks set handlers of their own for each test.
void watch_faults() {
  struct sigaction now = {};
  sigaction(SIGSEGV, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_fault) return;
  previous = now;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
}

void make_arena() {
  void* const both =
      mmap(nullptr, 2 * arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (both == MAP_FAILED) std::abort();
  arena_base = static_cast<unsigned char*>(both);
  arena_file = memfd_create("simulated device memory", MFD_CLOEXEC);
  if (arena_file < 0 || ftruncate(arena_file, static_cast<off_t>(arena_bytes)) != 0) std::abort();
  void* const memory =
      mmap(both, arena_bytes, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, arena_file, 0);
  if (memory == MAP_FAILED) std::abort();
  key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
  if (key >= 0 && pkey_mprotect(memory, arena_bytes, PROT_READ | PROT_WRITE, key) != 0)
    std::abort();
}

thread_local int openings_of_thread = 0;

[[maybe_unused]] const bool dropped_each_run = [] {
  on_reset([] { Memory::get().drop_ranks(); });
  return true;
}();

}  // namespace

DeviceAccess::DeviceAccess() {
  Memory::get();
  if (key >= 0) {
    if (openings_of_thread++ == 0) pkey_set(key, 0);
  } else if (openings++ == 0) {
    Memory::get().protect(PROT_READ | PROT_WRITE);
  }
}
DeviceAccess::~DeviceAccess() {
  if (key >= 0) {
    if (--openings_of_thread == 0) pkey_set(key, PKEY_DISABLE_ACCESS);
  } else if (--openings == 0) {
    Memory::get().protect(PROT_NONE);
  }
}

bool Memory::threads_have_rights() const {
  return key >= 0;
}

void Memory::protect(int protection) const {
  mprotect(arena_base, arena_bytes, protection);
  for (const auto& [base, again] : again_)
    mprotect(reinterpret_cast<void*>(base), again.room, protection);
}

unsigned char* Memory::map_again(const Allocation& a) {
  constexpr std::size_t page = 4096;
  const auto from = static_cast<std::size_t>(a.base - arena_base);
  const std::size_t skipped = from % page;
  const std::size_t room = (skipped + a.bytes + page - 1) / page * page;
  if (top_again_ + room > arena_bytes) return nullptr;
  unsigned char* const at = again_base() + top_again_;
  top_again_ += room + page;
  const int rights = key >= 0 || openings > 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
  if (mmap(at, room, rights, MAP_SHARED | MAP_FIXED, arena_file,
           static_cast<off_t>(from - skipped)) == MAP_FAILED)
    std::abort();
  if (key >= 0 && pkey_mprotect(at, room, PROT_READ | PROT_WRITE, key) != 0) std::abort();
  again_[address(at)] = {skipped + a.bytes, room, a.base - skipped};
  return at + skipped;
}

void Memory::unmap_again(const unsigned char* at) {
  auto it = again_.upper_bound(address(at));
  if (it == again_.begin()) return;
  --it;
  if (mmap(reinterpret_cast<void*>(it->first), it->second.room, PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
    std::abort();
  again_.erase(it);
}

const void* Memory::original(const void* pointer) const {
  if (!is_again(pointer)) return pointer;
  auto it = again_.upper_bound(address(pointer));
  if (it == again_.begin()) return nullptr;
  --it;
  const std::size_t offset = address(pointer) - it->first;
  return offset < it->second.bytes ? it->second.original + offset : nullptr;
}

std::string Allocation::name() const {
  return std::string(live ? "" : "freed ") + "allocation " + std::to_string(id) + " (" +
         std::to_string(bytes) + " bytes" +
         (device < 0 ? ", pinned" : ", device " + std::to_string(device)) +
         (rank < 0 ? "" : ", rank " + std::to_string(rank)) + ")";
}

Memory::Memory() {
  make_arena();
  arena_ = arena_base;
}

Memory& Memory::get() {
  static auto* const memory = new Memory;
  return *memory;
}

unsigned char* Memory::place(std::size_t room, Allocation& allocation) {
  if (top_ + room <= arena_bytes) {
    unsigned char* const at = arena_ + top_;
    top_ += room;
    allocation.room = room;
    return at;
  }
  // Full: the room that was given back first and suffices.
  auto best = all_.end();
  for (auto it = all_.begin(); it != all_.end(); ++it) {
    const Allocation& a = it->second;
    if (a.live || a.device < 0 || a.room < room) continue;
    if (best == all_.end() || a.id < best->second.id) best = it;
  }
  if (best == all_.end()) return nullptr;
  unsigned char* const at = best->second.base - guard;
  allocation.room = best->second.room;
  all_.erase(best);
  return at;
}

Allocation* Memory::allocate(std::size_t bytes, int device) {
  watch_faults();
  if (device >= 0 && used(device) + bytes > options().device_bytes) return nullptr;
  Allocation fresh{.bytes = bytes, .device = device, .rank = rank(), .id = next_id_++};
  const std::size_t room = round_up(bytes) + 2 * guard;
  unsigned char* const at = device < 0
                                ? static_cast<unsigned char*>(std::aligned_alloc(guard, room))
                                : place(room, fresh);
  if (at == nullptr) return nullptr;
  const DeviceAccess access;
  fresh.base = at + guard;
  open(at, room);
  std::memset(fresh.base, poison, bytes);
  fill_guards(fresh);
  used_[device] += bytes;
  return &(all_[address(fresh.base)] = fresh);
}

void Memory::fill_guards(const Allocation& a) {
  std::memset(a.base - guard, guard_byte, guard);
  std::memset(a.base + a.bytes, guard_byte, guard);
  shut(a.base - guard, guard);
  shut(a.base + a.bytes, guard);
}

void Memory::check(const Allocation& a) {
  if (__asan_poison_memory_region != nullptr) return;  // it has seen to that
  static const std::vector<unsigned char> untouched(guard, guard_byte);
  const auto touched = [](const unsigned char* zone) {
    return std::memcmp(zone, untouched.data(), guard) != 0;
  };
  const bool before = touched(a.base - guard);
  if (!before && !touched(a.base + a.bytes)) return;
  violation((before ? "written before the start of " : "written past the end of ") + a.name(),
            a.device);
  fill_guards(a);  // said once
}

void Memory::release(Allocation& a) {
  const DeviceAccess access;
  check(a);
  used_[a.device] -= a.bytes;
  a.live = false;
  if (a.device >= 0) {
    std::memset(a.base, poison, a.bytes);
    shut(a.base, a.bytes);
    return;
  }
  unsigned char* const at = a.base - guard;
  open(at, a.bytes + 2 * guard);
  std::free(at);
  all_.erase(address(a.base));
}

const Allocation* Memory::near(const void* pointer) const {
  auto it = all_.upper_bound(address(pointer) + guard);
  if (it == all_.begin()) return nullptr;
  --it;
  return address(pointer) < it->first + it->second.bytes + guard ? &it->second : nullptr;
}

Allocation* Memory::find(const void* pointer) {
  pointer = original(pointer);
  auto it = all_.upper_bound(address(pointer));
  if (it == all_.begin()) return nullptr;
  --it;
  Allocation& a = it->second;
  return a.live && address(pointer) < it->first + std::max<std::size_t>(a.bytes, 1) ? &a : nullptr;
}

bool Memory::in_arena(const void* pointer) const {
  return address(pointer) >= address(arena_) &&
         address(pointer) < address(arena_) + 2 * arena_bytes;
}

std::string Memory::complaint(const void* pointer, std::size_t bytes) {
  if (original(pointer) == nullptr) return "memory of another process that is not mapped any more";
  pointer = original(pointer);
  const Allocation* const a = find(pointer);
  if (a == nullptr) {
    const Allocation* const freed = near(pointer);
    return freed == nullptr ? "no device or pinned memory" : "outside of " + freed->name();
  }
  if (address(pointer) + bytes > address(a->base) + a->bytes)
    return std::to_string(bytes) + " bytes run past the end of " + a->name();
  if (a->available != nullptr && !a->available->done)
    return a->name() + " is not allocated yet in stream order";
  return "";
}

std::size_t Memory::used(int device) const {
  const auto found = used_.find(device);
  return found == used_.end() ? 0 : found->second;
}

void Memory::check_guards() {
  const DeviceAccess access;
  for (const auto& [base, a] : all_)
    if (a.live) check(a);
}

std::vector<std::string> Memory::live_of_ranks() const {
  std::vector<std::string> names;
  for (const auto& [base, a] : all_)
    if (a.live && a.rank >= 0) names.push_back(a.name());
  return names;
}

void Memory::drop_ranks() {
  bool any_live = false;
  for (auto it = all_.begin(); it != all_.end();) {
    Allocation& a = (it++)->second;
    if (a.live && a.rank >= 0) release(a);
  }
  for (const auto& [base, a] : all_) any_live = any_live || a.live;
  if (any_live) return;
  all_.clear();
  used_.clear();
  top_ = 0;
  top_again_ = 0;  // cuda_ipc.cpp has ended all of them
}

void check_guards() {
  Memory::get().check_guards();
}
void leaks_of_memory(std::vector<std::string>& leaks) {
  for (auto& name : Memory::get().live_of_ranks()) leaks.push_back(std::move(name));
}

bool is_device_accessible(const void* pointer, std::size_t bytes, int* device) {
  if (!Memory::get().complaint(pointer, bytes).empty()) return false;
  if (device != nullptr) *device = Memory::get().find(pointer)->device;
  return true;
}

}  // namespace sim
