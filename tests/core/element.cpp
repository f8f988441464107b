#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/element.hpp>

#include "support/seed.hpp"

namespace {

using dpgather::bf16;
using dpgather::fp16;

struct Format {
  int exponent_bits;
  int mantissa_bits;

  [[nodiscard]] int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  [[nodiscard]] std::uint32_t infinity() const {
    return ((1u << exponent_bits) - 1u) << mantissa_bits;
  }

  /// What the bits mean, from the definition of the format and in double. The bits of infinity give
  /// the power of two that they would stand for: where rounding to nearest turns to infinity.
  [[nodiscard]] double magnitude(std::uint32_t bits) const {
    const auto exponent = static_cast<int>(bits >> mantissa_bits);
    const double fraction = std::ldexp(bits & ((1u << mantissa_bits) - 1u), -mantissa_bits);
    return exponent == 0 ? std::ldexp(fraction, 1 - bias())
                         : std::ldexp(1.0 + fraction, exponent - bias());
  }
};
constexpr Format bf16_format{8, 7};
constexpr Format fp16_format{5, 10};

/// Rounds by searching among all values of the format.
class NearestEven {
 public:
  explicit NearestEven(const Format& format) {
    for (std::uint32_t bits = 0; bits <= format.infinity(); ++bits)
      values_.push_back(format.magnitude(bits));
  }
  [[nodiscard]] std::uint16_t operator()(float value) const {
    const std::uint32_t sign = std::signbit(value) ? 0x8000u : 0u;
    const double magnitude = std::fabs(static_cast<double>(value));
    std::size_t low = 0;
    std::size_t high = values_.size() - 1;
    if (magnitude >= values_[high]) return static_cast<std::uint16_t>(sign | high);
    while (high - low > 1) {
      const std::size_t middle = (low + high) / 2;
      (values_[middle] <= magnitude ? low : high) = middle;
    }
    const double below = magnitude - values_[low];  // exact: both have few bits, close together
    const double above = values_[high] - magnitude;
    const bool up = above < below || (above == below && low % 2 == 1);
    return static_cast<std::uint16_t>(sign | (up ? high : low));
  }
  /// Floats at, just below and just above every value and every tie between two values.
  [[nodiscard]] std::vector<float> boundaries() const {
    std::vector<float> out;
    const auto add = [&out](double value) {
      const auto f = static_cast<float>(value);
      if (static_cast<double>(f) != value) return;  // the tie above the largest bf16
      for (const float x : {std::nextafter(f, 0.0f), f, std::nextafter(f, HUGE_VALF)}) {
        out.push_back(x);
        out.push_back(-x);
      }
    };
    for (std::size_t i = 0; i + 1 < values_.size(); ++i) {
      add(values_[i]);
      add((values_[i] + values_[i + 1]) / 2);
    }
    return out;
  }

 private:
  std::vector<double> values_;
};

template <class T>
void check_all_patterns(const Format& format) {
  std::uint32_t wrong = 0;
  std::uint32_t first_wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536u; ++bits) {
    T value;
    value.bits = static_cast<std::uint16_t>(bits);
    const auto wide = static_cast<float>(value);
    const std::uint32_t magnitude = bits & 0x7fffu;
    bool good = std::signbit(wide) == ((bits & 0x8000u) != 0);
    if (magnitude > format.infinity()) {  // a NaN stays one, quiet or made quiet
      const T back(wide);
      good = good && std::isnan(wide) && (back.bits & 0x7fffu) > format.infinity();
    } else {
      good = good && T(wide).bits == bits;
      good = good && (magnitude == format.infinity()
                          ? std::isinf(wide)
                          : std::fabs(static_cast<double>(wide)) == format.magnitude(magnitude));
    }
    if (!good && wrong++ == 0) first_wrong = bits;
  }
  CAPTURE(first_wrong);
  CHECK(wrong == 0);
}

template <class T>
void check_rounding(const char* test, const Format& format) {
  const NearestEven reference(format);
  std::vector<float> floats = reference.boundaries();
  support::Random random(support::seed(test, 20250117));
  while (floats.size() < 600000) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random.bits()));
    if (!std::isnan(value)) floats.push_back(value);
    // Exponents of a few either side of 1, where half precision has its normal values.
    floats.push_back(std::ldexp(static_cast<float>(random.between(-16777215, 16777215)),
                                static_cast<int>(random.between(-60, 0))));
  }
  int wrong = 0;
  float first_wrong = 0;
  for (const float value : floats)
    if (T(value).bits != reference(value) && wrong++ == 0) first_wrong = value;
  CAPTURE(first_wrong);
  CAPTURE(T(first_wrong).bits);
  CAPTURE(reference(first_wrong));
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("every bf16 bit pattern means what the format says and survives a round trip") {
  check_all_patterns<bf16>(bf16_format);
}
TEST_CASE("every fp16 bit pattern means what the format says and survives a round trip") {
  check_all_patterns<fp16>(fp16_format);
}
TEST_CASE("float to bf16 rounds to nearest even") {
  check_rounding<bf16>("bf16 rounding", bf16_format);
}
TEST_CASE("float to fp16 rounds to nearest even, subnormals and overflow included") {
  check_rounding<fp16>("fp16 rounding", fp16_format);
}

TEST_CASE("16-bit floats keep the sign of zero, infinity and NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(bf16(-0.0f).bits == 0x8000u);
  CHECK(fp16(-0.0f).bits == 0x8000u);
  CHECK(static_cast<float>(bf16(infinity)) == infinity);
  CHECK(static_cast<float>(fp16(-infinity)) == -infinity);
  CHECK(std::isnan(static_cast<float>(bf16(nan))));
  CHECK(std::isnan(static_cast<float>(fp16(nan))));
  // A NaN whose payload is only in the bits that are cut off must not become infinity.
  const auto low_payload = std::bit_cast<float>(0x7f800001u);
  CHECK(std::isnan(static_cast<float>(bf16(low_payload))));
  CHECK(std::isnan(static_cast<float>(fp16(low_payload))));
}

TEST_CASE("16-bit floats compare as numbers") {
  CHECK(bf16(0.0f) == bf16(-0.0f));
  CHECK(fp16(0.0f) == fp16(-0.0f));
  CHECK(bf16(1.5f) == bf16(1.5f));
  CHECK(fp16(1.5f) != fp16(1.25f));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(bf16(nan) != bf16(nan));
  CHECK(fp16(nan) != fp16(nan));
}

TEST_CASE("16-bit floats convert at compile time") {
  static_assert(bf16(1.0f).bits == 0x3f80u && fp16(1.0f).bits == 0x3c00u);
  static_assert(static_cast<float>(fp16(65504.0f)) == 65504.0f);
  static_assert(fp16(65520.0f).bits == 0x7c00u, "half way to 2^16 is infinity");
  CHECK(dpgather::ElementTraits<bf16>::dtype == dpgather::DType::bfloat16);
}

TEST_CASE("every element type has its own wire name") {
  using dpgather::DType;
  using dpgather::ElementTraits;
  using dpgather::name;
  CHECK(name(ElementTraits<float>::dtype) == "float");
  CHECK(name(ElementTraits<double>::dtype) == "double");
  CHECK(name(ElementTraits<bf16>::dtype) == "bf16");
  CHECK(name(ElementTraits<fp16>::dtype) == "fp16");
  CHECK(name(ElementTraits<std::int32_t>::dtype) == "int32");
  CHECK(name(ElementTraits<std::int64_t>::dtype) == "int64");
}
