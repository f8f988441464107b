// Sums over ranks on a host, in vectors as wide as the processor has. The results are those of
// sum_element, bit by bit.
#pragma once

#include <cstdint>
#include <cstring>

#include <dpgather/core/element.hpp>
#include <dpgather/core/vector_elements.hpp>

namespace dpgather::detail {

/// Four vectors by name: as an array they would stay in memory where loops are not unrolled.
template <class Vector, std::int64_t Lanes>
struct VectorGroup {
  static constexpr std::int64_t size = 4 * Lanes;
  Vector a, b, c, d;

  template <class T>
  [[gnu::always_inline]] void load(const T* from) {
    a.load(from), b.load(from + Lanes), c.load(from + 2 * Lanes), d.load(from + 3 * Lanes);
  }
  template <class T>
  [[gnu::always_inline]] void add(const T* from) {
    add(a, from), add(b, from + Lanes), add(c, from + 2 * Lanes), add(d, from + 3 * Lanes);
  }
  template <class T>
  [[gnu::always_inline]] void store(T* to) const {
    if constexpr (Vector::has_doubts) {
      typename Vector::Words doubts{};
      a.store_numbers(to, doubts), b.store_numbers(to + Lanes, doubts);
      c.store_numbers(to + 2 * Lanes, doubts), d.store_numbers(to + 3 * Lanes, doubts);
      std::uint64_t parts[sizeof doubts / 8], any = 0;
      std::memcpy(parts, &doubts, sizeof doubts);
      for (const std::uint64_t part : parts) any |= part;
      if (any == 0) return;
    }
    a.store(to), b.store(to + Lanes), c.store(to + 2 * Lanes), d.store(to + 3 * Lanes);
  }

 private:
  template <class T>
  [[gnu::always_inline]] static void add(Vector& sum, const T* from) {
    Vector next;
    next.load(from);
    sum.add(next);
  }
};

/// As far as whole groups of vectors go; returns how many elements that is.
template <class T, int Bytes, class Source>
[[gnu::always_inline]] inline std::int64_t sum_groups(T* out, std::int64_t n, int ranks,
                                                      const Source& source) {
  using Group = VectorGroup<SumVector<T, Bytes>, Bytes / static_cast<int>(sizeof(T))>;
  std::int64_t i = 0;
  for (; i + Group::size <= n; i += Group::size) {
    Group sum;
    sum.load(source(0) + i);
    for (int rank = 1; rank < ranks; ++rank) sum.add(source(rank) + i);
    sum.store(out + i);
  }
  return i;
}

#if defined(__x86_64__)
template <class T, class Source>
[[gnu::target("avx2")]] std::int64_t sum_groups_avx2(T* out, std::int64_t n, int ranks,
                                                     const Source& source) {
  return sum_groups<T, 32>(out, n, ranks, source);
}
template <class T, class Source>
[[gnu::target("avx512f,avx512bw,avx512vl")]] std::int64_t sum_groups_avx512(T* out, std::int64_t n,
                                                                            int ranks,
                                                                            const Source& source) {
  return sum_groups<T, 64>(out, n, ranks, source);
}
#endif

/// As many of the first elements as whole vectors hold; returns how many.
template <Element T, class Source>
[[nodiscard]] std::int64_t sum_vectors(T* out, std::int64_t n, int ranks, const Source& source) {
#if defined(__x86_64__)
  static const bool widest =
      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  static const bool wide = __builtin_cpu_supports("avx2") != 0;
  if (widest) return sum_groups_avx512(out, n, ranks, source);
  if (wide) return sum_groups_avx2(out, n, ranks, source);
#endif
  return sum_groups<T, 16>(out, n, ranks, source);
}

/// out[i] = the sum of source(r)[i] over r in [0, ranks), in that order, for i in [0, n), in the type
/// that sums are kept in, by one thread of a host. `out` may be one of the sources. Not by sum_element,
/// which is for devices too: nvcc warns of a `source` that only a host can call.
template <Element T, class Source>
void sum_on_host(T* out, std::int64_t n, int ranks, const Source& source) {
  using Sum = typename ElementTraits<T>::accumulate;
  for (std::int64_t i = sum_vectors(out, n, ranks, source); i < n; ++i) {
    Sum sum = static_cast<Sum>(source(0)[i]);
    for (int rank = 1; rank < ranks; ++rank)
      sum = add_wrapping(sum, static_cast<Sum>(source(rank)[i]));
    out[i] = static_cast<T>(sum);
  }
}

}  // namespace dpgather::detail
