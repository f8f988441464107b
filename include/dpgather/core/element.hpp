// Element types that travel: float, double, bf16, fp16, int32, int64.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <dpgather/core/config.hpp>

namespace dpgather {

namespace detail {

// std::bit_cast is for host code alone; the builtin behind it is for device code too.
template <class To, class From>
[[nodiscard]] DPGATHER_HD constexpr To bit_cast(From from) {
  return __builtin_bit_cast(To, from);
}

}  // namespace detail

/// bfloat16 as bits; the same layout as __nv_bfloat16. Rounds to nearest even, keeps NaN a NaN.
struct bf16 {
  std::uint16_t
      bits;  // no initialiser: an uninitialised element costs nothing, and memset is legal

  bf16() = default;
  DPGATHER_HD constexpr explicit bf16(float value) {
    const auto wide = detail::bit_cast<std::uint32_t>(value);
    const bool is_nan = (wide & 0x7fffffffu) > 0x7f800000u;
    bits = is_nan ? static_cast<std::uint16_t>((wide >> 16) | 0x40u)
                  : static_cast<std::uint16_t>((wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16);
  }
  DPGATHER_HD constexpr explicit operator float() const {
    return detail::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  friend constexpr bool operator==(bf16 a, bf16 b) { return float(a) == float(b); }
};

/// IEEE half precision as bits; the same layout as __half. Rounds to nearest even, subnormals
/// included.
struct fp16 {
  std::uint16_t bits;

  fp16() = default;
  DPGATHER_HD constexpr explicit fp16(float value) {
    const auto wide = detail::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((wide >> 16) & 0x8000u);
    const std::uint32_t magnitude = wide & 0x7fffffffu;
    std::uint32_t half = 0;
    if (magnitude > 0x7f800000u) {
      half = 0x7e00u;
    } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
      half = 0x7c00u;
    } else if (magnitude >= 0x38800000u) {  // normal: re-bias the exponent by 127 - 15
      const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
      half = (rounded - 0x38000000u) >> 13;
    } else if (magnitude >= 0x33000000u) {  // subnormal: shift the mantissa, ties to even
      const std::uint32_t shift = 126u - (magnitude >> 23);
      const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
      const std::uint32_t rest = mantissa & ((1u << shift) - 1u);
      const std::uint32_t tie = 1u << (shift - 1u);
      half = mantissa >> shift;
      if (rest > tie || (rest == tie && (half & 1u))) ++half;
    }
    bits = static_cast<std::uint16_t>(sign | half);
  }
  DPGATHER_HD constexpr explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16;
    std::uint32_t exponent = (bits >> 10) & 0x1fu;
    std::uint32_t mantissa = bits & 0x3ffu;
    if (exponent == 0x1fu) return detail::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
    if (exponent == 0) {
      if (mantissa == 0) return detail::bit_cast<float>(sign);
      exponent = 1;
      while ((mantissa & 0x400u) == 0) mantissa <<= 1, --exponent;
      mantissa &= 0x3ffu;
    }
    return detail::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  }
  friend constexpr bool operator==(fp16 a, fp16 b) { return float(a) == float(b); }
};

enum class DType : std::uint8_t { float32, float64, bfloat16, float16, int32, int64 };

[[nodiscard]] constexpr std::string_view name(DType dtype) {
  constexpr std::string_view names[] = {"float", "double", "bf16", "fp16", "int32", "int64"};
  return names[static_cast<std::size_t>(dtype)];
}

[[nodiscard]] constexpr std::int64_t bytes_of(DType dtype) {
  constexpr std::int64_t bytes[] = {4, 8, 2, 2, 4, 8};
  return bytes[static_cast<std::size_t>(dtype)];
}

/// Specialise for a type of your own that has one of the layouts above (say __nv_bfloat16):
/// `dtype` names the layout on the wire, `accumulate` the type that sums are kept in.
template <class T>
struct ElementTraits;

template <DType D, class Accumulate>
struct ElementTraitsOf {
  static constexpr DType dtype = D;
  using accumulate = Accumulate;
};
template <>
struct ElementTraits<float> : ElementTraitsOf<DType::float32, float> {};
template <>
struct ElementTraits<double> : ElementTraitsOf<DType::float64, double> {};
template <>
struct ElementTraits<bf16> : ElementTraitsOf<DType::bfloat16, float> {};
template <>
struct ElementTraits<fp16> : ElementTraitsOf<DType::float16, float> {};
template <>
struct ElementTraits<std::int32_t> : ElementTraitsOf<DType::int32, std::int32_t> {};
template <>
struct ElementTraits<std::int64_t> : ElementTraitsOf<DType::int64, std::int64_t> {};

template <class T>
concept Element = std::is_trivially_copyable_v<T> && requires {
  { ElementTraits<T>::dtype } -> std::convertible_to<DType>;
  typename ElementTraits<T>::accumulate;
};

static_assert(Element<float> && Element<double> && Element<bf16> && Element<fp16> &&
              Element<std::int32_t> && Element<std::int64_t> && !Element<char>);
static_assert(sizeof(bf16) == 2 && sizeof(fp16) == 2);

namespace detail {

template <DType D>
[[nodiscard]] constexpr auto element_of() {
  if constexpr (D == DType::float32) return float{};
  if constexpr (D == DType::float64) return double{};
  if constexpr (D == DType::bfloat16) return bf16{};
  if constexpr (D == DType::float16) return fp16{};
  if constexpr (D == DType::int32) return std::int32_t{};
  if constexpr (D == DType::int64) return std::int64_t{};
}
/// The type of this header that has the layout of T.
template <Element T>
using LayoutOf = decltype(element_of<ElementTraits<T>::dtype>());

/// Integers wrap as NCCL's do; signed overflow would be undefined.
template <class T>
DPGATHER_HD T add_wrapping(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

}  // namespace detail
}  // namespace dpgather
