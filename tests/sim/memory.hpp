// Simulated memory: device memory lies in an arena that only device work may touch, with guard zones
// around each allocation; what is fresh or freed holds 0xFF bytes (NaN in every float format).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "sim/device.hpp"

namespace sim {

struct Allocation {
  unsigned char* base = nullptr;
  std::size_t bytes = 0;
  int device = -1;  // -1: pinned host memory
  int rank = -1;    // who asked
  std::uint64_t id = 0;
  bool live = true;
  bool pooled = false;                         // cudaMallocAsync
  bool freeing = false;                        // cudaFreeAsync is on its way
  std::size_t room = 0;                        // of the arena, with guards
  std::shared_ptr<const Item> available = {};  // stream-ordered: not before this is done

  [[nodiscard]] std::string name() const;
};

/// A violation if a rank that lives still maps it.
void check_not_mapped(const Allocation& freed);

class Memory {
 public:
  static Memory& get();

  /// Null if `device` has no room left.
  Allocation* allocate(std::size_t bytes, int device);
  /// Poisons and retires it, after a look at its guards.
  void release(Allocation& allocation);
  /// The live allocation that holds this address, or null.
  Allocation* find(const void* pointer);
  /// Why [pointer, pointer + bytes) is no good as device or pinned memory; empty if it is good.
  std::string complaint(const void* pointer, std::size_t bytes);
  /// In the arena, live or not.
  [[nodiscard]] bool in_arena(const void* pointer) const;
  [[nodiscard]] std::size_t used(int device) const;
  void check_guards();
  [[nodiscard]] std::vector<std::string> live_of_ranks() const;
  void drop_ranks();
  /// Another address of a device's allocation, as a process has it that maps it; and the end of that.
  unsigned char* map_again(const Allocation& allocation);
  void unmap_again(const unsigned char* at);
  /// The allocation's own address for one of `map_again`; null if that has come to its end.
  const void* original(const void* pointer) const;
  /// Whether the processor has protection keys, so that each thread has rights of its own.
  [[nodiscard]] bool threads_have_rights() const;
  /// Of all of it, where they have none.
  void protect(int protection) const;
  /// What a host thread touched that it must not, for the signal handler.
  const Allocation* near(const void* pointer) const;

 private:
  Memory();
  unsigned char* place(std::size_t room, Allocation& allocation);
  void check(const Allocation& allocation);
  static void fill_guards(const Allocation& allocation);

  std::map<std::uintptr_t, Allocation>
      all_;  // by base; retired ones stay until their room is reused
  std::map<int, std::size_t> used_;
  struct Again {
    std::size_t bytes, room;
    const unsigned char* original;
  };
  std::map<std::uintptr_t, Again> again_;
  std::size_t top_again_ = 0;
  unsigned char* arena_ = nullptr;
  std::size_t top_ = 0;
  std::uint64_t next_id_ = 1;
};

}  // namespace sim
