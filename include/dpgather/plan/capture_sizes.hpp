// The batch sizes that graphs are captured at.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/rounding.hpp>
#include <dpgather/plan/size_policy.hpp>

namespace dpgather {

/// Sorted sizes in *requests of one rank*; a len is a size times the rows per request. Also a
/// RoundingPolicy: a len above the largest size is left as it is.
class CaptureSizes {
 public:
  /// Any order; duplicates are dropped. Every size is at least 1.
  explicit CaptureSizes(std::vector<std::int64_t> sizes) : sizes_(std::move(sizes)) {
    std::sort(sizes_.begin(), sizes_.end());
    sizes_.erase(std::unique(sizes_.begin(), sizes_.end()), sizes_.end());
    require(!sizes_.empty(), {.operation = "CaptureSizes"}, "no size given, at least 1 is needed");
    require(sizes_.front() >= 1 && sizes_.back() <= max_rows, {.operation = "CaptureSizes"},
            "sizes run from ", sizes_.front(), " to ", sizes_.back(), ", must be 1 to ", max_rows);
  }

  /// SGLang's default: 1, 2, 4, 8, 12, 16 to 256 by 8, 272 to 496 by 16, 512 and up by 32, cut at
  /// `largest`; a size is kept if `size * width` is a multiple of `attn_tp`.
  [[nodiscard]] static CaptureSizes sglang(std::int64_t largest, int width = 1, int attn_tp = 1) {
    require(largest >= 1 && largest <= max_rows && width >= 1 && attn_tp >= 1,
            {.operation = "CaptureSizes"}, "largest ", largest, ", width ", width, " and attn_tp ",
            attn_tp, " must be at least 1, and largest at most ", max_rows);
    std::vector<std::int64_t> sizes;
    const auto keep = [&](std::int64_t size) {
      if (size <= largest && size * width % attn_tp == 0) sizes.push_back(size);
    };
    for (const std::int64_t size : {1, 2, 4, 8, 12}) keep(size);
    for (std::int64_t size = 16; size <= 256; size += 8) keep(size);
    for (std::int64_t size = 272; size <= 496; size += 16) keep(size);
    for (std::int64_t size = 512; size <= largest; size += 32) keep(size);
    require(!sizes.empty(), {.operation = "CaptureSizes"}, "no default size up to ", largest,
            " has size * width ", width, " divisible by attn_tp ", attn_tp);
    return CaptureSizes(std::move(sizes));
  }

  /// Smallest size that holds `n` requests; none above the largest.
  [[nodiscard]] std::optional<std::int64_t> fit(std::int64_t n) const {
    const auto it = std::lower_bound(sizes_.begin(), sizes_.end(), n);
    if (it == sizes_.end()) return std::nullopt;
    return *it;
  }
  /// Size for a sum over ranks: as `fit`, and above the largest the default series goes on (by 16,
  /// from 512 by 32).
  [[nodiscard]] std::int64_t fit_sum(std::int64_t n) const {
    return fit(n).value_or(round_up(n, n <= 496 ? 16 : 32));
  }
  /// Each axis by itself; none if the longest rank has too many.
  [[nodiscard]] std::optional<SizePair> fit_pair(std::int64_t longest, std::int64_t fullest) const {
    const auto local = fit(longest);
    if (!local) return std::nullopt;
    return SizePair{*local, fit_sum(fullest)};
  }
  [[nodiscard]] std::int64_t operator()(std::int64_t len) const { return fit(len).value_or(len); }
  [[nodiscard]] std::int64_t largest() const { return sizes_.back(); }
  [[nodiscard]] std::span<const std::int64_t> values() const { return sizes_; }
  [[nodiscard]] std::uint64_t fingerprint() const {
    Hash hash;
    for (const auto size : sizes_) hash.add(size);
    return hash.value();
  }

 private:
  std::vector<std::int64_t> sizes_;
};

static_assert(RoundingPolicy<CaptureSizes> && SizePolicy<CaptureSizes>);

}  // namespace dpgather
