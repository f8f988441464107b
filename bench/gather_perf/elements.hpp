// Buffers of a case, filled with the pattern, and how many of their elements are wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <dpgather/core/element.hpp>
#include <dpgather/core/memory.hpp>

#include "case.hpp"
#include "support/transfer.hpp"

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

/// Elements in `Memory`, and beside them what is to be there or was.
template <class T, class Memory>
class Elements {
 public:
  using Stream = typename Memory::stream_type;
  explicit Elements(std::int64_t count) : values_(static_cast<std::size_t>(count)), there_(count) {}
  [[nodiscard]] T* data() const { return there_.data(); }
  [[nodiscard]] T* values() { return values_.data(); }
  /// Return when it is done.
  void put(Stream stream) { test::upload(std::span<const T>(values_), there_.data(), stream); }
  void get(Stream stream) {
    test::download(static_cast<const T*>(there_.data()), std::span<T>(values_), stream);
  }

 private:
  std::vector<T> values_;
  dpgather::Buffer<T, Memory> there_;
};

/// What each collective sends and receives, by the rules of `Communicator`. All-gathers are of
/// [counts[rank]], reductions of [total] on each rank.
template <class T, class Memory = dpgather::HostMemory>
class CollectiveBuffers {
 public:
  using Stream = typename Memory::stream_type;
  CollectiveBuffers(const Case& of, int rank, Stream stream = {})
      : case_(of),
        rank_(rank),
        stream_(stream),
        counts_(of.counts()),
        offsets_(of.offsets()),
        send_(of.in_place ? 0 : sends()),
        recv_(of.in_place ? of.elements() : receives()) {
    refill();
  }
  /// Reductions in place spoil what they read.
  void refill() {
    auto& to = case_.in_place ? recv_ : send_;
    const bool whole = adds(case_.what);
    fill(to.values() + begin_of_send(), sends(), rank_, whole ? 0 : own_offset());
    to.put(stream_);
  }
  [[nodiscard]] T* send() const {
    return case_.in_place ? recv_.data() + begin_of_send() : send_.data();
  }
  [[nodiscard]] T* recv() const { return recv_.data() + begin_of_result(); }
  [[nodiscard]] std::int64_t count() const { return counts_[static_cast<std::size_t>(rank_)]; }
  [[nodiscard]] const std::vector<std::int64_t>& counts() const { return counts_; }
  [[nodiscard]] const std::vector<std::int64_t>& offsets() const { return offsets_; }
  [[nodiscard]] std::int64_t total() const { return case_.elements(); }

  [[nodiscard]] std::int64_t wrong() {
    if (case_.what == What::barrier) return 0;
    recv_.get(stream_);
    if (adds(case_.what)) {
      const std::int64_t first = case_.what == What::all_reduce ? 0 : own_offset();
      return count_wrong(recv_.values() + begin_of_result(), receives(),
                         [&](std::int64_t i) { return summed(case_.ranks, first + i); });
    }
    std::int64_t wrong = 0;
    for (std::size_t r = 0; r < counts_.size(); ++r)
      wrong += count_wrong(recv_.values() + offsets_[r], counts_[r], [&](std::int64_t i) {
        return pattern(static_cast<int>(r), offsets_[r] + i);
      });
    return wrong;
  }

 private:
  [[nodiscard]] bool scatters() const {
    return case_.what == What::reduce_scatter || case_.what == What::reduce_scatter_v;
  }
  [[nodiscard]] std::int64_t own_offset() const {
    return offsets_[static_cast<std::size_t>(rank_)];
  }
  [[nodiscard]] std::int64_t sends() const { return adds(case_.what) ? total() : count(); }
  [[nodiscard]] std::int64_t receives() const { return scatters() ? count() : total(); }
  [[nodiscard]] std::int64_t begin_of_send() const {
    return case_.in_place && !adds(case_.what) ? own_offset() : 0;
  }
  [[nodiscard]] std::int64_t begin_of_result() const {
    return case_.in_place && scatters() ? own_offset() : 0;
  }

  Case case_;
  int rank_;
  Stream stream_;
  std::vector<std::int64_t> counts_, offsets_;
  Elements<T, Memory> send_, recv_;
};

}  // namespace gather_perf
