// Between a test's host memory and memory that ranks work on; done when a call returns.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include <dpgather/core/stream.hpp>

namespace test {

/// Copies bytes in the order of a stream and waits for them. For CUDA streams: transfer_cuda.hpp.
template <class Stream>
struct Transfer;

template <>
struct Transfer<dpgather::HostStream> {
  static void copy(void* to, const void* from, std::size_t bytes, dpgather::HostStream) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
};

template <class T, class Stream>
void upload(std::span<const T> from, T* to, Stream stream) {
  Transfer<Stream>::copy(to, from.data(), from.size_bytes(), stream);
}
template <class T, class Stream>
void download(const T* from, std::span<T> to, Stream stream) {
  Transfer<Stream>::copy(to.data(), from, to.size_bytes(), stream);
}

}  // namespace test
