#include "support/allocations.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> of_all{0};
thread_local std::uint64_t of_this = 0;

void* counted(std::size_t bytes, std::size_t alignment) {
  if (support::Uncounted::depth() == 0) {
    of_all.fetch_add(1, std::memory_order_relaxed);
    ++of_this;
  }
  if (bytes == 0) bytes = 1;
  void* data = alignment == 0
                   ? std::malloc(bytes)
                   : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace

namespace support {

std::uint64_t allocations_of_this_thread() noexcept {
  return of_this;
}
std::uint64_t allocations_of_all_threads() noexcept {
  return of_all.load(std::memory_order_relaxed);
}

}  // namespace support

// Forms for arrays call these. Those that do not throw would too, but a sanitizer brings its own.
void* operator new(std::size_t bytes) {
  return counted(bytes, 0);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return counted(bytes, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* data) noexcept {
  std::free(data);
}
void operator delete(void* data, std::size_t) noexcept {
  std::free(data);
}
void operator delete(void* data, std::align_val_t) noexcept {
  std::free(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
  std::free(data);
}
