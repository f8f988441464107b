// Copies on a host, where memcpy alone is slow.
#pragma once

#include <algorithm>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>

namespace dpgather::detail {

inline constexpr std::size_t cache_line = 64;  ///< bytes

/// `std::memcpy`. That of glibc 2.36 takes 16 to 35 times as long on AMD's Zen 3, for 14 to 229 kB,
/// where `to` is 16 bytes ahead of `from` modulo a page, and no longer from 64 on (measured,
/// docs/performance.md): copies with less than that between them go by lines here.
inline void copy_bytes(void* to, const void* from, std::size_t bytes) {
  auto* out = static_cast<std::byte*>(to);
  const auto* in = static_cast<const std::byte*>(from);
  const std::size_t ahead =
      (reinterpret_cast<std::uintptr_t>(out) - reinterpret_cast<std::uintptr_t>(in)) % 4096;
  std::size_t at = 0;
  if (ahead > 0 && ahead < 64)
    for (; at + cache_line <= bytes; at += cache_line) {
      std::byte line[cache_line];
      std::memcpy(line, in + at, cache_line);
      std::memcpy(out + at, line, cache_line);
    }
  if (at < bytes) std::memcpy(out + at, in + at, bytes - at);
}

/// Of the third level, which cores share; the largest number if the system does not say. (glibc's
/// sysconf adds up those of a whole AMD socket, of which a core has one.)
[[nodiscard]] inline std::int64_t cache_bytes() {
  static const std::int64_t bytes = [] {
    std::int64_t kilobytes = 0;
    if (std::FILE* const file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r")) {
      if (std::fscanf(file, "%" SCNd64 "K", &kilobytes) != 1) kilobytes = 0;
      std::fclose(file);
    }
    return kilobytes > 0 ? kilobytes * 1024 : std::numeric_limits<std::int64_t>::max();
  }();
  return bytes;
}

#if defined(__x86_64__)
using Vector [[gnu::vector_size(16)]] = long long;

/// Not into the caches.
inline void stream_store(Vector* to, Vector value) {
#if defined(__clang__)
  __builtin_nontemporal_store(value, to);
#else
  __builtin_ia32_movntdq(to, value);
#endif
}
#endif

/// `std::memcpy` for more than the caches hold: written straight to memory, which spares reading it
/// first. Another thread may read it after any release and acquire, as after memcpy.
inline void copy_past_caches(void* to, const void* from, std::size_t bytes) {
#if defined(__x86_64__)
  constexpr std::size_t vectors = cache_line / sizeof(Vector);
  auto* out = static_cast<std::byte*>(to);
  const auto* in = static_cast<const std::byte*>(from);
  const std::size_t into_line = reinterpret_cast<std::uintptr_t>(out) % cache_line;
  std::size_t at = std::min((cache_line - into_line) % cache_line, bytes);
  if (at > 0) std::memcpy(out, in, at);
  for (; at + cache_line <= bytes; at += cache_line) {
    Vector line[vectors];
    std::memcpy(line, in + at, cache_line);
    for (std::size_t i = 0; i < vectors; ++i)
      stream_store(reinterpret_cast<Vector*>(out + at) + i, line[i]);
  }
  if (at < bytes) std::memcpy(out + at, in + at, bytes - at);
  __builtin_ia32_sfence();  // streamed stores are not ordered by a release
#else
  copy_bytes(to, from, bytes);
#endif
}

}  // namespace dpgather::detail
