// One header starts all element work: a loop here, a kernel where the stream is a device's.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dpgather/core/config.hpp>
#include <dpgather/core/copy_bytes.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/stream.hpp>

namespace dpgather {

/// Work on rows: `body(row, lane, lanes)` does lane `lane`'s part of row `row`; the lanes of a row
/// share it. A plain struct with a DPGATHER_HD call operator, so that what a host runs is what a
/// device runs. Lanes and rows come in any order; no lane may depend on another's writes. A body
/// may have `row_bytes()`, the bytes that a row writes: how many lanes are of use.
template <class B>
concept RowBody = std::is_trivially_copyable_v<B> &&
    requires(const B& body, std::int64_t row, int lane) {
  body(row, lane, lane);
};

/// Runs `body` on rows `[0, rows)` in stream order, one lane a row. Recorded by value on a
/// capturing stream. The overload for CUDA streams is in core/cuda/launch.cuh.
template <RowBody Body>
void launch(HostStream stream, std::string_view name, std::int64_t rows, const Body& body) {
  const auto run = [rows](const Body& work) {
    for (std::int64_t row = 0; row < rows; ++row) work(row, 0, 1);
  };
  if (rows == 0) return;
  if (!stream.capturing()) return run(body);  // at once, without copies of the body
  stream.submit(name, [run, body] { run(body); });
}

namespace detail {

/// Lanes for a row: one for each 16 bytes that it writes, as a power of two up to 256.
template <RowBody Body>
[[nodiscard]] int lanes_for(const Body& body) {
  if constexpr (requires { body.row_bytes(); }) {
    int lanes = 1;
    while (lanes < 256 && lanes * 16 < body.row_bytes()) lanes *= 2;
    return lanes;
  } else {
    return 1;
  }
}

template <class T>
[[nodiscard]] std::int64_t row_bytes(const Rows<T>& rows) {
  return rows.width() * static_cast<std::int64_t>(sizeof(T));
}

/// 16 bytes as one access where a device has one.
struct alignas(16) Vector16 {
  std::uint64_t low, high;
};

DPGATHER_HD inline bool aligned16(const void* a, const void* b, std::int64_t bytes) {
  return ((reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) |
           static_cast<std::uintptr_t>(bytes)) %
          16) == 0;
}

/// Lane's part of `to[0, n) = from[0, n)`; nothing where the data is there already.
template <class T>
DPGATHER_HD void copy_elements(T* to, const T* from, std::int64_t n, int lane, int lanes) {
  if (to == from) return;
#if !defined(__CUDA_ARCH__)
  if (lanes == 1) {
    copy_bytes(to, from, static_cast<std::size_t>(n) * sizeof(T));
    return;
  }
#endif
  const std::int64_t bytes = n * static_cast<std::int64_t>(sizeof(T));
  if (aligned16(to, from, bytes)) {
    auto* out = reinterpret_cast<Vector16*>(to);
    const auto* in = reinterpret_cast<const Vector16*>(from);
    for (std::int64_t i = lane; i < bytes / 16; i += lanes) out[i] = in[i];
  } else {
    for (std::int64_t i = lane; i < n; i += lanes) to[i] = from[i];
  }
}

/// Lane's part of `to[0, n) = 0`.
template <class T>
DPGATHER_HD void zero_elements(T* to, std::int64_t n, int lane, int lanes) {
#if !defined(__CUDA_ARCH__)
  if (lanes == 1) {
    if (n > 0) std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(n) * sizeof(T));
    return;
  }
#endif
  const std::int64_t bytes = n * static_cast<std::int64_t>(sizeof(T));
  if (aligned16(to, to, bytes)) {
    auto* out = reinterpret_cast<Vector16*>(to);
    for (std::int64_t i = lane; i < bytes / 16; i += lanes) out[i] = Vector16{0, 0};
  } else {
    for (std::int64_t i = lane; i < n; i += lanes) to[i] = T{};
  }
}

}  // namespace detail
}  // namespace dpgather
