// Buffers of a case, filled with the pattern, and how many of their elements are wrong.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dpgather/core/element.hpp>
#include <dpgather/core/memory.hpp>

#include "case.hpp"

namespace gather_perf {

template <class T>
void fill(T* to, std::int64_t count, int rank, std::int64_t first) {
  for (std::int64_t i = 0; i < count; ++i)
    to[i] = static_cast<T>(static_cast<float>(pattern(rank, first + i)));
}

/// The pattern summed over ranks.
[[nodiscard]] inline std::int64_t summed(int ranks, std::int64_t i) {
  std::int64_t sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum += pattern(rank, i);
  return sum;
}

/// Elements of `at` that are not `expected(i)`.
template <class T, class Expected>
[[nodiscard]] std::int64_t count_wrong(const T* at, std::int64_t count, const Expected& expected) {
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < count; ++i)
    wrong += static_cast<float>(at[i]) != static_cast<float>(expected(i)) ? 1 : 0;
  return wrong;
}

/// Calls `f(T{})` for the type of `dtype`, of those that this bench knows: others give a null.
template <class F>
auto with_type(dpgather::DType dtype, const F& f) -> decltype(f(float{})) {
  if (dtype == dpgather::DType::float32) return f(float{});
  if (dtype == dpgather::DType::bfloat16) return f(dpgather::bf16{});
  return {};
}

/// What each collective sends and receives, by the rules of `Communicator`. All-gathers are of
/// [counts[rank]], reductions of [total] on each rank.
template <class T>
class CollectiveBuffers {
 public:
  CollectiveBuffers(const Case& of, int rank)
      : case_(of),
        rank_(rank),
        counts_(of.counts()),
        offsets_(of.offsets()),
        send_(of.in_place ? 0 : sends()),
        recv_(of.in_place ? of.elements() : receives()) {
    refill();
  }
  /// Reductions in place spoil what they read.
  void refill() {
    const bool whole = adds(case_.what);
    fill(writable_send(), sends(), rank_, whole ? 0 : own_offset());
  }
  [[nodiscard]] const T* send() const {
    return const_cast<CollectiveBuffers*>(this)->writable_send();
  }
  [[nodiscard]] T* recv() const {
    const bool scatters = case_.in_place && (case_.what == What::reduce_scatter ||
                                             case_.what == What::reduce_scatter_v);
    return recv_.data() + (scatters ? own_offset() : 0);
  }
  [[nodiscard]] std::int64_t count() const { return counts_[static_cast<std::size_t>(rank_)]; }
  [[nodiscard]] const std::vector<std::int64_t>& counts() const { return counts_; }
  [[nodiscard]] const std::vector<std::int64_t>& offsets() const { return offsets_; }
  [[nodiscard]] std::int64_t total() const { return case_.elements(); }

  [[nodiscard]] std::int64_t wrong() const {
    if (case_.what == What::barrier) return 0;
    if (adds(case_.what)) {
      const std::int64_t first = case_.what == What::all_reduce ? 0 : own_offset();
      return count_wrong(recv(), receives(),
                         [&](std::int64_t i) { return summed(case_.ranks, first + i); });
    }
    std::int64_t wrong = 0;
    for (std::size_t r = 0; r < counts_.size(); ++r)
      wrong += count_wrong(recv_.data() + offsets_[r], counts_[r], [&](std::int64_t i) {
        return pattern(static_cast<int>(r), offsets_[r] + i);
      });
    return wrong;
  }

 private:
  [[nodiscard]] std::int64_t own_offset() const {
    return offsets_[static_cast<std::size_t>(rank_)];
  }
  [[nodiscard]] std::int64_t sends() const { return adds(case_.what) ? total() : count(); }
  [[nodiscard]] std::int64_t receives() const {
    return case_.what == What::reduce_scatter || case_.what == What::reduce_scatter_v ? count()
                                                                                      : total();
  }
  [[nodiscard]] T* writable_send() {
    if (!case_.in_place) return send_.data();
    return recv_.data() + (adds(case_.what) ? 0 : own_offset());
  }

  Case case_;
  int rank_;
  std::vector<std::int64_t> counts_, offsets_;
  dpgather::Buffer<T> send_, recv_;
};

}  // namespace gather_perf
