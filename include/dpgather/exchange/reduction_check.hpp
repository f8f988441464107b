// Catches a way back that does not fit what the FFN left: partial sums, or rows reduced already.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/exchange/valid_rows.hpp>

namespace dpgather::detail {

struct SetWord {
  std::int64_t* word;
  std::int64_t value;
  DPGATHER_HD void operator()(std::int64_t, int lane, int) const {
    if (lane == 0) *word = value;
  }
};

DPGATHER_HD inline void add_to_word(std::int64_t* word, std::uint64_t value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(word), static_cast<unsigned long long>(value));
#else
  *word = static_cast<std::int64_t>(static_cast<std::uint64_t>(*word) + value);
#endif
}

/// Adds a hash of a row that exists to a word. A sum, so that lanes may come in any order; zero
/// bits add nothing.
template <class T>
struct HashRow {
  Rows<const T> rows;
  ValidRows valid;
  std::int64_t* hash;
  [[nodiscard]] std::int64_t row_bytes() const { return detail::row_bytes(rows); }
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    if (!valid.contains(row)) return;
    std::uint64_t sum = 0;
    for (std::int64_t j = lane; j < rows.width(); j += lanes) {
      const T value = rows.row(row)[j];  // a whole one: memcpy from the row would load byte by byte
      std::uint64_t bits = 0;
      memcpy(&bits, &value, sizeof(T));
      const auto at = static_cast<std::uint64_t>(row * rows.width() + j);
      bits *= 0x9e3779b97f4a7c15u * (2 * at + 1);
      sum += bits ^ (bits >> 29);
    }
    if (sum != 0) add_to_word(hash, sum);
  }
};

enum class ReductionVerdict : std::int64_t { fits = 0, reduced_already = 1, partial_sums = 2 };

/// Rows that all ranks hold alike have been reduced; rows that differ are partial sums. One rank,
/// or all zeros, proves nothing.
struct JudgeReduction {
  const std::int64_t* hashes;
  std::int64_t ranks;
  bool expect_partial;
  std::int64_t* verdict;
  DPGATHER_HD void operator()(std::int64_t, int lane, int) const {
    if (lane != 0) return;
    bool alike = true;
    for (std::int64_t r = 1; r < ranks; ++r) alike = alike && hashes[r] == hashes[0];
    if (ranks == 1 || (alike && hashes[0] == 0) || alike != expect_partial) return;
    *verdict = static_cast<std::int64_t>(alike ? ReductionVerdict::reduced_already
                                               : ReductionVerdict::partial_sums);
  }
};

/// One 8-byte all-gather a check, in stream order; it may be captured. A host stream throws at the
/// call, on every rank; a device's verdict waits for `raise` at the user's own synchronisation.
template <MemorySpace Memory>
class ReductionCheck {
 public:
  /// Takes no memory unless `used`.
  ReductionCheck(int ranks, bool used) : hashes_(used ? ranks + 1 : 0), verdict_(used ? 1 : 0) {
    if (used) *verdict_.data() = 0;
  }

  template <class T, class Comm, class Stream>
  void check(Comm& comm, Rows<const T> rows, const ValidRows& valid, bool expect_partial,
             Stream stream, const ErrorContext& where) {
    std::int64_t* const all = hashes_.data();
    std::int64_t* const mine = all + comm.size();
    launch(stream, "zero_hash", 1, SetWord{mine, 0});
    launch(stream, "hash_rows", valid.global_len, HashRow<T>{rows, valid, mine});
    comm.all_gather(static_cast<const std::int64_t*>(mine), all, 1, stream);
    launch(stream, "judge_reduction", 1,
           JudgeReduction{all, comm.size(), expect_partial, verdict_.data()});
    if constexpr (std::same_as<Stream, HostStream>)
      stream.submit("raise", [this, ranks = comm.size(), rank = where.rank, step = where.step,
                              at = std::string(where.operation)] {
        raise(ranks, {rank, step, at});
      });
  }
  /// Throws InvalidArgument if a check since the last call found a wrong way back.
  void raise(int ranks, const ErrorContext& where) {
    if (verdict_.size() == 0) return;
    const auto verdict = static_cast<ReductionVerdict>(std::exchange(*verdict_.data(), 0));
    require(verdict != ReductionVerdict::reduced_already, where,
            "all ranks hold the same rows: they are reduced already and would be added ", ranks,
            " times; use slice_local");
    require(verdict != ReductionVerdict::partial_sums, where,
            "ranks hold different rows: the FFN left partial sums; use reduce_scatter");
  }

 private:
  Buffer<std::int64_t, Memory> hashes_;
  Buffer<std::int64_t, typename Memory::visible_type> verdict_;
};

}  // namespace dpgather::detail
