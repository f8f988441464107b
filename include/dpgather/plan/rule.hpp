// Rules that choose between MAX_LEN and SUM_LEN from the agreed counts.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <dpgather/core/hash.hpp>
#include <dpgather/plan/counts.hpp>

namespace dpgather {

enum class LenMode : std::uint8_t { max_len, sum_len };

[[nodiscard]] constexpr std::string_view name(LenMode mode) {
  return mode == LenMode::max_len ? "MAX_LEN" : "SUM_LEN";
}

/// What a rule may look at: the same on every rank, or ranks would diverge.
struct StepLoad {
  Counts counts;         ///< rows of each DP rank, aligned
  bool prefill = false;  ///< some rank prefills in this step
};

template <class R>
concept LenRule = requires(const R& rule, const StepLoad& load) {
  { rule.choose(load) } -> std::same_as<LenMode>;
  { rule.fingerprint() } -> std::same_as<std::uint64_t>;
};

/// Fewest bytes of two volumes: an all-gather of W * max rows, an all-reduce of 2 * sum rows.
/// Source: SGLang #8280 (tie SUM_LEN), #10414 (prefill is SUM_LEN), #20406 (only if W > 1, tie
/// MAX_LEN).
struct VolumeRule {
  enum class Prefill : std::uint8_t { by_volume, sum_len, sum_len_if_many };

  LenMode tie = LenMode::sum_len;
  Prefill prefill = Prefill::by_volume;

  [[nodiscard]] static constexpr VolumeRule sglang_8280() { return {}; }
  [[nodiscard]] static constexpr VolumeRule sglang_10414() {
    return {.tie = LenMode::sum_len, .prefill = Prefill::sum_len};
  }
  [[nodiscard]] static constexpr VolumeRule sglang_20406() {
    return {.tie = LenMode::max_len, .prefill = Prefill::sum_len_if_many};
  }

  [[nodiscard]] constexpr LenMode choose(const StepLoad& load) const {
    const auto ranks = static_cast<std::int64_t>(load.counts.size());
    if (load.prefill &&
        (prefill == Prefill::sum_len || (prefill == Prefill::sum_len_if_many && ranks > 1)))
      return LenMode::sum_len;
    const std::int64_t gathered = max(load.counts) * ranks;
    const std::int64_t reduced = 2 * sum(load.counts);
    if (reduced == gathered) return tie;
    return reduced > gathered ? LenMode::max_len : LenMode::sum_len;
  }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(std::string_view("volume")).add(tie).add(prefill).value();
  }
};

/// Always the same mode.
template <LenMode Mode>
struct Fixed {
  [[nodiscard]] constexpr LenMode choose(const StepLoad&) const { return Mode; }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(std::string_view("fixed")).add(Mode).value();
  }
};

static_assert(LenRule<VolumeRule> && LenRule<Fixed<LenMode::max_len>>);

}  // namespace dpgather
