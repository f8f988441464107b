// Memory spaces and the buffer that owns one piece of one.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <dpgather/core/error.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather {

class HostStream;

/// Ordinary memory of the process. A fresh allocation is filled with 0xFF, which is NaN in every
/// floating type, so that a row nobody wrote is seen.
struct HostMemory {
  using stream_type = HostStream;
  using visible_type = HostMemory;
  static constexpr const char* name = "host";
  static constexpr std::size_t alignment = 256;

  [[nodiscard]] static void* allocate(std::size_t bytes) {
    void* data = ::operator new (bytes, std::align_val_t{alignment});
    std::memset(data, 0xFF, bytes);
    return data;
  }
  static void deallocate(void* data) noexcept {
    ::operator delete (data, std::align_val_t{alignment});
  }
  static void zero(void* data, std::size_t bytes) { std::memset(data, 0, bytes); }
};

/// `zero` is done when it returns: for construction, not for steps. `visible_type` is a space that both the host and this space's work can read and write.
template <class M>
concept MemorySpace = requires(std::size_t bytes, void* data) {
  typename M::stream_type;
  typename M::visible_type;
  { M::allocate(bytes) } -> std::same_as<void*>;
  { M::deallocate(data) }
  noexcept;
  M::zero(data, bytes);
  { M::alignment } -> std::convertible_to<std::size_t>;
};

/// A space that can also allocate and free in the order of a stream.
template <class M>
concept StreamOrderedMemory = MemorySpace<M> &&
    requires(std::size_t bytes, void* data, typename M::stream_type stream) {
  { M::allocate(bytes, stream) } -> std::same_as<void*>;
  { M::deallocate(data, stream) }
  noexcept;
};

/// Owns `size()` elements in one memory space. Move-only; moving keeps the address.
template <class T, MemorySpace Memory = HostMemory>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>, "Buffer holds plain elements only");

 public:
  using memory_type = Memory;

  Buffer() = default;
  explicit Buffer(std::int64_t count) : size_(count) {
    if (const std::size_t bytes = bytes_of(count); bytes > 0)
      data_ = static_cast<T*>(Memory::allocate(bytes));
  }
  /// Usable and freed in the order of `stream` where the space can; work of other streams needs an
  /// event.
  template <std::same_as<typename Memory::stream_type> Stream>
  requires StreamOrderedMemory<Memory> Buffer(std::int64_t count, Stream stream)
      : size_(count), ordered_{stream, true} {
    if (const std::size_t bytes = bytes_of(count); bytes > 0)
      data_ = static_cast<T*>(Memory::allocate(bytes, stream));
  }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        ordered_(other.ordered_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(ordered_, other.ordered_);
    return *this;
  }
  ~Buffer() {
    if (data_ == nullptr) return;
    if constexpr (StreamOrderedMemory<Memory>) {
      if (ordered_.by_stream) {
        Memory::deallocate(data_, ordered_.stream);
        return;
      }
    }
    Memory::deallocate(data_);
  }

  [[nodiscard]] T* data() const noexcept { return data_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  /// Whole buffer as `[rows, width]`; the caller keeps `rows * width` within `size()`.
  [[nodiscard]] Rows<T> rows(std::int64_t rows, std::int64_t width) const {
    return Rows<T>(data_, rows, width);
  }
  [[nodiscard]] std::span<T> span() const requires std::is_same_v<Memory, HostMemory> {
    return {data_, static_cast<std::size_t>(size_)};
  }

 private:
  struct NoOrder {};
  template <class M>
  struct Order {
    typename M::stream_type stream;
    bool by_stream = false;
  };
  [[nodiscard]] static std::size_t bytes_of(std::int64_t count) {
    require(count >= 0 && static_cast<std::uint64_t>(count) <=
                              static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) /
                                  sizeof(T),
            {.operation = "Buffer"}, "element count ", count, " is negative or too large");
    return static_cast<std::size_t>(count) * sizeof(T);
  }

  T* data_ = nullptr;
  std::int64_t size_ = 0;
  [[no_unique_address]] std::conditional_t<StreamOrderedMemory<Memory>, Order<Memory>, NoOrder>
      ordered_;
};

static_assert(MemorySpace<HostMemory>);

}  // namespace dpgather
