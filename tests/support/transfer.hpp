// Between a test's host memory and memory that ranks work on; done when a call returns.
#pragma once

#include <cstring>
#include <span>

#include <dpgather/core/stream.hpp>

namespace test {

template <class T>
void upload(std::span<const T> from, T* to, dpgather::HostStream) {
  if (!from.empty()) std::memcpy(static_cast<void*>(to), from.data(), from.size_bytes());
}
template <class T>
void download(const T* from, std::span<T> to, dpgather::HostStream) {
  if (!to.empty()) std::memcpy(static_cast<void*>(to.data()), from, to.size_bytes());
}

}  // namespace test
