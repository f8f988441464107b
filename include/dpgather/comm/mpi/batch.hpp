// Runs the calls of a group, or one alone: compare with the peers, start all, end all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/comm/call.hpp>
#include <dpgather/comm/mpi/call.hpp>
#include <dpgather/comm/mpi/link.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>

namespace dpgather::detail {

/// Compares signatures with all ranks before any data moves; a mismatch fails the communicator,
/// with the same text on every rank. One small all-gather, and one more to tell what differs in a
/// group.
class MpiAgreementOnCalls {
 public:
  void compare(MpiLink& link, std::span<const MpiCall> calls, const ErrorContext& where) {
    Record mine;
    mine.calls = static_cast<std::int64_t>(calls.size());
    Hash hash;
    for (const MpiCall& call : calls)
      hash.add(call.signature.op)
          .add(call.signature.dtype)
          .add(call.signature.root)
          .add(call.signature.count)
          .add(call.signature.counts_hash);
    mine.hash = hash.value();
    if (!calls.empty()) mine.first = calls.front().signature;
    gather(link, std::span<const Record>(&mine, 1), records_, where);
    const auto same = [&](const Record& other) { return other == mine; };
    if (std::all_of(records_.begin(), records_.end(), same)) return;

    // All ranks have the same records, so all of them come here and agree on `longest`.
    std::int64_t longest = 1;
    for (const Record& record : records_) longest = std::max(longest, record.calls);
    std::vector<CallSignature> signatures(static_cast<std::size_t>(longest));
    for (std::size_t i = 0; i < calls.size(); ++i) signatures[i] = calls[i].signature;
    std::vector<CallSignature> all;
    gather(link, std::span<const CallSignature>(signatures), all, where);
    const auto of = [&](int rank, std::size_t i) {
      return all[static_cast<std::size_t>(rank) * signatures.size() + i];
    };
    std::size_t differing = 0;
    const auto differs = [&](std::size_t i) {
      for (int rank = 1; rank < link.size(); ++rank)
        if (!(of(rank, i) == of(0, i))) return true;
      return false;
    };
    while (differing + 1 < signatures.size() && !differs(differing)) ++differing;
    const std::string text =
        mismatch_text(link.size(), [&](int rank) { return of(rank, differing); });
    link.fail(text);
    throw MismatchError(where, text);
  }

  /// All ranks' values, in rank order.
  template <class T>
  static void gather(MpiLink& link, std::span<const T> mine, std::vector<T>& all,
                     const ErrorContext& where) {
    const auto n = static_cast<std::size_t>(link.size());
    all.resize(n * mine.size());
    const auto own = all.begin() + link.rank() * static_cast<std::ptrdiff_t>(mine.size());
    std::copy(mine.begin(), mine.end(), own);
    MPI_Request request = MPI_REQUEST_NULL;
    const int bytes = static_cast<int>(mine.size_bytes());
    link.started(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, all.data(), bytes, MPI_BYTE,
                                link.calls(), &request),
                 "MPI_Iallgather", where);
    try {
      link.wait({&request, 1}, where);
    } catch (...) {
      MpiProcess::get().keep(std::move(all));
      all = {};
      throw;
    }
  }

 private:
  struct Record {
    CallSignature first;
    std::int64_t calls = 0;
    std::uint64_t hash = 0;
    friend bool operator==(const Record&, const Record&) = default;
  };

  std::vector<Record> records_;
};

class MpiBatch {
 public:
  /// Returns the elements moved, zero-count calls included as 0. On failure the calls are moved
  /// away.
  std::uint64_t run(MpiLink& link, std::vector<MpiCall>& calls, std::size_t count, bool compare,
                    const ErrorContext& where) {
    link.check(where);
    const std::span<MpiCall> batch(calls.data(), count);
    if (compare) agreement_.compare(link, batch, where);
    if (scratch_.size() < count) scratch_.resize(count);
    requests_.clear();
    requests_.reserve(count);
    try {
      for (std::size_t i = 0; i < count; ++i) {
        const MPI_Request request = mpi_start(link, batch[i], scratch_[i], where);
        if (request != MPI_REQUEST_NULL) requests_.push_back(request);
      }
      link.wait(requests_, where);
    } catch (...) {
      // MPI may read counts and write scratch until it ends; vectors keep their addresses when
      // moved.
      MpiProcess::get().keep(std::move(calls));
      MpiProcess::get().keep(std::move(scratch_));
      calls.clear();
      scratch_.clear();
      throw;
    }
    std::uint64_t moved = 0;
    for (std::size_t i = 0; i < count; ++i) {
      mpi_finish(batch[i], scratch_[i]);
      moved += batch[i].moved;
    }
    return moved;
  }

  /// Waits for all ranks with a way out before it calls MPI_Comm_split, which has none.
  std::unique_ptr<MpiLink> split(MpiLink& link, int color, int key, bool compare,
                                 const ErrorContext& where) {
    link.check(where);
    if (compare) {
      MpiCall call;
      call.signature.op = Collective::split;
      agreement_.compare(link, {&call, 1}, where);
    } else {
      std::vector<int> colors;
      MpiAgreementOnCalls::gather(link, std::span<const int>(&color, 1), colors, where);
    }
    return link.split(color, key);
  }

 private:
  MpiAgreementOnCalls agreement_;
  std::vector<MpiScratch> scratch_;
  std::vector<MPI_Request> requests_;
};

}  // namespace dpgather::detail
