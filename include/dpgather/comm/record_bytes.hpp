// Copies of short records whose ends are mostly zeros, without calls: for so few bytes, of a number that
// varies, a call costs more than the bytes do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <dpgather/core/copy_bytes.hpp>

namespace dpgather::detail {

[[nodiscard]] inline std::uint64_t word_at(const std::byte* from) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Bytes of `record` without the cache lines of zeros at its end, counted from the end.
[[nodiscard]] inline std::size_t without_zeros(std::span<const std::byte> record) {
  std::size_t n = record.size();
  for (; n >= cache_line; n -= cache_line) {
    const std::byte* const at = record.data() + n - cache_line;
    if ((word_at(at) | word_at(at + 8) | word_at(at + 16) | word_at(at + 24) | word_at(at + 32) |
         word_at(at + 40) | word_at(at + 48) | word_at(at + 56)) != 0)
      break;
  }
  return n;
}

/// By words, inline.
inline void copy_words(std::byte* to, const std::byte* from, std::size_t bytes) {
  constexpr std::size_t word = sizeof(std::uint64_t);
  for (; bytes >= word; bytes -= word, to += word, from += word) std::memcpy(to, from, word);
  if (bytes > 0) std::memcpy(to, from, bytes);
}

/// `bytes` is a multiple of `cache_line`.
inline void clear_lines(std::byte* to, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += cache_line) std::memset(to + at, 0, cache_line);
}

}  // namespace dpgather::detail
