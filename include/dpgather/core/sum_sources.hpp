// Sums over ranks of elements that lie side by side, in a fixed order.
#pragma once

#include <cstdint>
#include <cstring>

#include <dpgather/core/config.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/vector_sum.hpp>

namespace dpgather::detail {

/// 16 bytes of elements.
template <class T>
struct alignas(16) Pack {
  static constexpr std::int64_t size = 16 / sizeof(T);
  T values[size];

  DPGATHER_HD static Pack load(const T* from) {
#if defined(__CUDA_ARCH__)
    return bit_cast<Pack>(*reinterpret_cast<const Vector16*>(from));
#else
    Pack pack;
    std::memcpy(static_cast<void*>(&pack), from, sizeof pack);
    return pack;
#endif
  }
  DPGATHER_HD void store(T* to) const {
#if defined(__CUDA_ARCH__)
    *reinterpret_cast<Vector16*>(to) = bit_cast<Vector16>(*this);
#else
    std::memcpy(static_cast<void*>(to), this, sizeof *this);
#endif
  }
};

/// out[i] = sum over r in [0, ranks), in that order, of source(r)[i], kept in the type that sums are
/// kept in. `out` may be one of the sources.
template <Element T, class Source>
DPGATHER_HD void sum_element(T* out, std::int64_t i, int ranks, const Source& source) {
  using Sum = typename ElementTraits<T>::accumulate;
  Sum sum = static_cast<Sum>(source(0)[i]);
  for (int rank = 1; rank < ranks; ++rank)
    sum = add_wrapping(sum, static_cast<Sum>(source(rank)[i]));
  out[i] = static_cast<T>(sum);
}

/// The same of elements [i, i + 16 bytes), all at multiples of 16 bytes.
template <Element T, class Source>
DPGATHER_HD void sum_pack(T* out, std::int64_t i, int ranks, const Source& source) {
  using Sum = typename ElementTraits<T>::accumulate;
  constexpr auto size = Pack<T>::size;
  Sum sums[size];
  const auto first = Pack<T>::load(source(0) + i);
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (int k = 0; k < size; ++k) sums[k] = static_cast<Sum>(first.values[k]);
  for (int rank = 1; rank < ranks; ++rank) {
    const auto next = Pack<T>::load(source(rank) + i);
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
    for (int k = 0; k < size; ++k)
      sums[k] = add_wrapping(sums[k], static_cast<Sum>(next.values[k]));
  }
  Pack<T> result;
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
  for (int k = 0; k < size; ++k) result.values[k] = static_cast<T>(sums[k]);
  result.store(out + i);
}

/// Lane's part of elements [0, n). `aligned`: `out` and all sources lie at multiples of 16 bytes.
template <Element T, class Source>
DPGATHER_HD void sum_sources(T* out, std::int64_t n, int ranks, const Source& source, bool aligned,
                             int lane, int lanes) {
#if !defined(__CUDA_ARCH__)
  if (lanes == 1) return sum_on_host(out, n, ranks, source);
#endif
  constexpr auto size = Pack<T>::size;
  const std::int64_t whole = aligned ? n / size : 0;
  for (std::int64_t v = lane; v < whole; v += lanes) sum_pack<T>(out, v * size, ranks, source);
  for (std::int64_t i = whole * size + lane; i < n; i += lanes)
    sum_element<T>(out, i, ranks, source);
}

}  // namespace dpgather::detail
