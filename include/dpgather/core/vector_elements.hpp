// Elements of each type in vectors that a compiler makes of plain arithmetic: loaded, added and
// rounded as one element is.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <dpgather/core/element.hpp>

namespace dpgather::detail {

/// Vectors of `Bytes`, by what GCC and Clang have in common. They go by reference: wide ones by value
/// would be another calling convention where the compiler may not use them.
template <int Bytes>
struct Vectors {
  using Words [[gnu::vector_size(Bytes)]] = std::uint32_t;
  using Signed [[gnu::vector_size(Bytes)]] = std::int32_t;
  using Floats [[gnu::vector_size(Bytes)]] = float;
};

/// Elements kept as they are: float, double and integers, which wrap.
template <class T, int Bytes>
struct PlainVector {
  using Lane = std::conditional_t<sizeof(T) == 8 && std::is_integral_v<T>, std::uint64_t,
                                  std::conditional_t<std::is_integral_v<T>, std::uint32_t, T>>;
  using Vector [[gnu::vector_size(Bytes)]] = Lane;
  Vector sum;

  [[gnu::always_inline]] void load(const T* from) { std::memcpy(&sum, from, Bytes); }
  [[gnu::always_inline]] void add(const PlainVector& next) { sum += next.sum; }
  [[gnu::always_inline]] void store(T* to) const { std::memcpy(to, &sum, Bytes); }
  static constexpr bool has_doubts = false;
};

/// 16-bit types, two to a word of 32 bits: the elements in the low halves and those in the high ones
/// are widened, added and rounded each by themselves, so that nothing is shuffled.
template <class Format, int Bytes>
struct PairVector {
  using Words = typename Vectors<Bytes>::Words;
  using Floats = typename Vectors<Bytes>::Floats;
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  Floats low, high;

  [[gnu::always_inline]] void load(const void* from) {
    Words words;
    std::memcpy(&words, from, Bytes);
    Format::widen_low(words, low);
    Format::widen_high(words, high);
  }
  [[gnu::always_inline]] void add(const PairVector& next) {
    low += next.low;
    high += next.high;
  }
  [[gnu::always_inline]] void store(void* to) const {
    Words first, second;
    Format::round(low, first);
    Format::round(high, second);
    const Words words = (first >> 16) | (second & 0xffff0000u);
    std::memcpy(to, &words, Bytes);
  }
  /// Where rounding is quicker of numbers alone: as `store`, and sets `doubts` where it was none.
  static constexpr bool has_doubts = requires(Floats floats, Words words) {
    Format::round_number(floats, words);
  };
  [[gnu::always_inline]] void store_numbers(void* to, Words& doubts) const {
    Words first, second;
    Format::round_number(low, first);
    Format::round_number(high, second);
    doubts |= (Words)(low != low) | (Words)(high != high);
    const Words words = (first >> 16) | (second & 0xffff0000u);
    std::memcpy(to, &words, Bytes);
  }
};

/// As `bf16` converts. Rounded values are in the high halves; the low ones hold anything.
template <int Bytes>
struct Bf16Format {
  using Words = typename Vectors<Bytes>::Words;
  using Floats = typename Vectors<Bytes>::Floats;

  [[gnu::always_inline]] static void widen_low(const Words& words, Floats& to) {
    to = (Floats)(words << 16);
  }
  [[gnu::always_inline]] static void widen_high(const Words& words, Floats& to) {
    to = (Floats)(words & 0xffff0000u);
  }
  [[gnu::always_inline]] static void round_number(const Floats& from, Words& to) {
    const Words wide = (Words)from;
    to = wide + 0x7fffu + ((wide >> 16) & 1u);
  }
  [[gnu::always_inline]] static void round(const Floats& from, Words& to) {
    const Words nan = (Words)(from != from);
    round_number(from, to);
    to = (nan & ((Words)from | 0x400000u)) | (~nan & to);
  }
};

/// As `fp16` converts, without its branches. Halves and their sums' bounds are normal floats, so it
/// does not matter whether the processor flushes subnormal ones.
template <int Bytes>
struct Fp16Format {
  using Words = typename Vectors<Bytes>::Words;
  using Signed = typename Vectors<Bytes>::Signed;
  using Floats = typename Vectors<Bytes>::Floats;

  [[gnu::always_inline]] static void widen_low(const Words& words, Floats& to) {
    widen(words & 0xffffu, to);
  }
  [[gnu::always_inline]] static void widen_high(const Words& words, Floats& to) {
    widen(words >> 16, to);
  }
  [[gnu::always_inline]] static void widen(const Words& half, Floats& to) {
    constexpr std::uint32_t smallest = 113u << 23;  // 2^-14 as a float
    const Words magnitude = half & 0x7fffu;
    const Words shifted = magnitude << 13;
    const Words normal = shifted + (112u << 23);
    const Words no_number = shifted + (224u << 23);
    // A subnormal's mantissa behind that of 2^-14, less 2^-14.
    const Floats offset = (Floats)(Words{} + smallest);
    const Words subnormal = (Words)((Floats)(shifted + smallest) - offset);
    const Words is_subnormal = (Words)((Signed)magnitude < 0x400);
    const Words is_no_number = (Words)((Signed)magnitude >= 0x7c00);
    to = (Floats)(((half & 0x8000u) << 16) | (is_subnormal & subnormal) |
                  (is_no_number & no_number) | (~is_subnormal & ~is_no_number & normal));
  }
  [[gnu::always_inline]] static void round(const Floats& from, Words& to) {
    constexpr std::uint32_t half = 126u << 23;  // 0.5: its last bit is worth 2^-24
    const Words wide = (Words)from;
    const Words magnitude = wide & 0x7fffffffu;
    const Signed compared = (Signed)magnitude;
    const Words is_nan = (Words)(compared > 0x7f800000);
    const Words is_infinite = (Words)(compared >= 0x477ff000) & ~is_nan;
    const Words is_subnormal = (Words)(compared < 0x38800000);
    const Words normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    const Floats aligned = (Floats)magnitude + (Floats)(Words{} + half);
    const Words subnormal = (Words)aligned - half;
    const Words bits = (is_nan & 0x7e00u) | (is_infinite & 0x7c00u) | (is_subnormal & subnormal) |
                       (~is_nan & ~is_infinite & ~is_subnormal & normal);
    to = (bits << 16) | (wide & 0x80000000u);
  }
};

template <class T, int Bytes>
using SumVector = std::conditional_t<
    ElementTraits<T>::dtype == DType::bfloat16, PairVector<Bf16Format<Bytes>, Bytes>,
    std::conditional_t<ElementTraits<T>::dtype == DType::float16,
                       PairVector<Fp16Format<Bytes>, Bytes>, PlainVector<T, Bytes>>>;

}  // namespace dpgather::detail
