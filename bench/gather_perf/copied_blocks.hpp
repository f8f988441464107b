// What a rank copies to stand for a collective: the pieces of an all-gather, or as many bytes as a
// reduction reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "case.hpp"
#include "elements.hpp"

namespace gather_perf {

class CopiedBlocks {
 public:
  CopiedBlocks(const Case& of, int rank)
      : counts_(of.counts()), own_(static_cast<std::size_t>(rank)), skips_own_(of.in_place) {
    if (adds(of.what))  // its own part of every rank, or all parts
      counts_.assign(counts_.size(), of.what == What::all_reduce ? of.elements() : counts_[own_]);
    for (const std::int64_t n : counts_) offsets_.push_back(total_), total_ += n;
  }
  [[nodiscard]] std::int64_t total() const { return total_; }

  /// `f(offset, count)`, in the order that ranks read.
  template <class F>
  void for_each(const F& f) const {
    for (std::size_t i = 1; i <= counts_.size(); ++i) {
      const std::size_t r = (own_ + i) % counts_.size();
      if (counts_[r] > 0 && !(skips_own_ && r == own_)) f(offsets_[r], counts_[r]);
    }
  }
  /// Elements of [total] that are not the pattern of `rank`, where it was copied to.
  template <class T>
  [[nodiscard]] std::int64_t count_wrong(const T* at, int rank) const {
    std::int64_t wrong = 0;
    for_each([&](std::int64_t offset, std::int64_t count) {
      wrong += gather_perf::count_wrong(at + offset, count,
                                        [&](std::int64_t i) { return pattern(rank, offset + i); });
    });
    return wrong;
  }

 private:
  std::vector<std::int64_t> counts_, offsets_;
  std::size_t own_;
  bool skips_own_;
  std::int64_t total_ = 0;
};

}  // namespace gather_perf
