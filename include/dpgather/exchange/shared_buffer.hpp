// A buffer that collectives use step after step: registered with communicators that gain by it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/memory.hpp>

namespace dpgather::detail {

/// A communicator may offer `attach(data, bytes)`, collective, and `detach(data)`. `comm` outlives
/// the buffer.
template <Element T, Communicator Comm>
class SharedBuffer {
 public:
  static constexpr bool attaches = requires(Comm & comm, void* data) {
    comm.attach(data, std::size_t{}), comm.detach(data);
  };

  SharedBuffer(Comm& comm, std::int64_t count) : comm_(comm), buffer_(count) {
    if constexpr (attaches)
      if (count > 0) comm_.attach(buffer_.data(), static_cast<std::size_t>(count) * sizeof(T));
  }
  SharedBuffer(const SharedBuffer&) = delete;
  SharedBuffer& operator=(const SharedBuffer&) = delete;
  ~SharedBuffer() {
    if constexpr (attaches)
      if (buffer_.size() > 0) comm_.detach(buffer_.data());
  }
  [[nodiscard]] T* data() const { return buffer_.data(); }

 private:
  Comm& comm_;
  Buffer<T, typename Comm::memory_type> buffer_;
};

}  // namespace dpgather::detail
