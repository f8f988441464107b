#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/core/vector_sum.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

/// One element after the other, in rank order, by the type that sums are kept in.
template <class T>
T plain_sum(const std::vector<std::vector<T>>& sources, std::size_t i) {
  using Sum = typename ElementTraits<T>::accumulate;
  Sum sum = static_cast<Sum>(sources[0][i]);
  for (std::size_t r = 1; r < sources.size(); ++r) {
    const auto next = static_cast<Sum>(sources[r][i]);
    if constexpr (std::is_integral_v<Sum>) {
      using Wide = std::make_unsigned_t<Sum>;
      sum = static_cast<Sum>(static_cast<Wide>(sum) + static_cast<Wide>(next));
    } else {
      sum += next;
    }
  }
  return static_cast<T>(sum);
}

template <class T>
bool is_nan(T value) {
  if constexpr (std::is_integral_v<T>)
    return false;
  else
    return static_cast<double>(static_cast<typename ElementTraits<T>::accumulate>(value)) !=
           static_cast<double>(static_cast<typename ElementTraits<T>::accumulate>(value));
}

/// The same bits, or both not a number: which operand's payload stays is the processor's affair.
template <class T>
bool same(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0 || (is_nan(a) && is_nan(b));
}

template <class T>
T any_bits(support::Random& random) {
  const std::uint64_t bits = random.bits();
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

template <class T>
void check(const std::vector<std::vector<T>>& sources, std::size_t skip, int in_place) {
  const std::size_t n = sources[0].size() - skip;
  std::vector<std::vector<T>> read = sources;
  std::vector<T> apart(sources[0].size());
  std::vector<T>& out = in_place < 0 ? apart : read[static_cast<std::size_t>(in_place)];
  detail::sum_on_host(
      out.data() + skip, static_cast<std::int64_t>(n), static_cast<int>(sources.size()),
      [&](int r) -> const T* { return read[static_cast<std::size_t>(r)].data() + skip; });
  for (std::size_t i = skip; i < sources[0].size(); ++i)
    if (!same(out[i], plain_sum(sources, i))) {
      CAPTURE(i);
      FAIL("differs from adding one by one");
    }
}

}  // namespace

TEST_CASE_TEMPLATE("sums on a host are those of one element after the other, bit by bit", T, float,
                   double, bf16, fp16, std::int32_t, std::int64_t) {
  support::Random random(support::seed("sums on a host", 61));
  for (int round = 0; round < 200; ++round) {
    const auto ranks = static_cast<std::size_t>(random.between(1, 9));
    const auto skip = static_cast<std::size_t>(random.between(0, 7));  // buffers at any address
    const auto n = static_cast<std::size_t>(random.between(0, 300));
    CAPTURE(round);
    std::vector<std::vector<T>> sources(ranks, std::vector<T>(skip + n));
    for (auto& source : sources)
      for (T& value : source) value = any_bits<T>(random);
    check(sources, skip, -1);
    check(sources, skip, static_cast<int>(random.between(0, static_cast<std::int64_t>(ranks) - 1)));
  }
}

TEST_CASE_TEMPLATE("every value of 16 bits comes through a sum as it is", T, bf16, fp16) {
  std::vector<std::vector<T>> sources(2, std::vector<T>(65536));
  for (std::size_t bits = 0; bits < 65536; ++bits) {
    sources[0][bits].bits = static_cast<std::uint16_t>(bits);
    sources[1][bits].bits = 0x8000;  // -0, which changes nothing
  }
  check(sources, 0, -1);
  sources.pop_back();
  check(sources, 0, 0);
}

TEST_CASE_TEMPLATE("sums of 16 bits round as one conversion does, near ties and at the ends", T,
                   bf16, fp16) {
  support::Random random(support::seed("rounding of sums", 62));
  std::vector<std::vector<T>> sources(3, std::vector<T>(100000));
  for (std::size_t i = 0; i < sources[0].size(); ++i) {
    const auto bits = static_cast<std::uint16_t>(random.bits());
    sources[0][i].bits = bits;
    // Exponents close to the first one's: their sums need rounding, over- and underflow.
    for (std::size_t r = 1; r < 3; ++r)
      sources[r][i].bits = static_cast<std::uint16_t>(bits ^ (random.bits() & 0x83ff));
  }
  check(sources, 0, -1);
}

#if defined(__x86_64__)
TEST_CASE_TEMPLATE("vectors of every width agree", T, float, double, bf16, fp16, std::int32_t,
                   std::int64_t) {
  support::Random random(support::seed("vectors of every width", 63));
  constexpr std::int64_t n = 1024;  // whole groups of any width
  for (const bool nans : {true, false}) {
    std::vector<std::vector<T>> sources(4, std::vector<T>(n));
    for (auto& source : sources)
      for (T& value : source) do
          value = any_bits<T>(random);
        while (!nans && is_nan(value));
    const auto at = [&](int r) -> const T* { return sources[static_cast<std::size_t>(r)].data(); };
    const auto agrees = [&](const char* width, const auto& sum) {
      std::vector<T> sums(n);
      CAPTURE(width);
      REQUIRE(sum(sums.data()) == n);
      for (std::size_t i = 0; i < sums.size(); ++i) {
        CAPTURE(i);
        REQUIRE(same(sums[i], plain_sum(sources, i)));
      }
    };
    agrees("16 bytes", [&](T* out) { return detail::sum_groups<T, 16>(out, n, 4, at); });
    if (__builtin_cpu_supports("avx2"))
      agrees("32 bytes", [&](T* out) { return detail::sum_groups_avx2(out, n, 4, at); });
    else
      MESSAGE("skipped: this processor has no AVX2");
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
      agrees("64 bytes", [&](T* out) { return detail::sum_groups_avx512(out, n, 4, at); });
    else
      MESSAGE("skipped: this processor has no AVX-512");
  }
}
#endif
