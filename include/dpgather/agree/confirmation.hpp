// The agreement that ends a capture.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <dpgather/agree/alignment.hpp>
#include <dpgather/agree/record.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather {

/// What a rank says at the end of a capture. Hashes must be the same on all ranks.
struct CaptureEnd {
  bool ok = true;
  std::string_view reason = {};    ///< why not
  std::uint64_t key = 0;           ///< hash of the key
  std::uint64_t uses = 0;          ///< hash of whatever decides which graphs are dropped for it
  std::uint64_t bytes = 0;         ///< that the graph takes on this rank
  std::uint64_t latest_bytes = 0;  ///< of the graph captured before, if it took more since; else 0
};
/// What all ranks said.
struct Confirmation {
  bool ok = true;
  std::string reason;              ///< of the lowest rank that said no
  std::uint64_t bytes = 0;         ///< the most of any rank
  std::uint64_t latest_bytes = 0;  ///< likewise
};

namespace detail {

/// What such a record carries in place of user bytes.
struct CaptureMarks {
  std::uint64_t key = 0;
  std::uint64_t uses = 0;
  static CaptureMarks of(const StepRecord& record) {
    return std::bit_cast<CaptureMarks>(record.user);
  }
};

/// Makes `record`, which says whose it is, one that ends a capture.
inline void end_capture(StepRecord& record, const CaptureEnd& end) {
  record.phases = confirmation;
  record.failed = end.ok ? 0 : 1;
  if (!end.ok) record.set_message(end.reason);
  record.user = std::bit_cast<UserBytes>(CaptureMarks{end.key, end.uses});
  record.bytes = end.bytes;
  record.latest_bytes = end.latest_bytes;
}

[[nodiscard]] inline Confirmation judge_confirmation(std::span<const StepRecord> records, int rank,
                                                     std::int64_t index) {
  const ErrorContext where{.rank = rank, .step = index, .operation = "confirm"};
  check_alignment(records, where);
  const CaptureMarks first = CaptureMarks::of(records[0]);
  Confirmation said;
  for (const StepRecord& record : records) {
    const CaptureMarks theirs = CaptureMarks::of(record);
    require<DivergenceError>(theirs.key == first.key, where, "ranks 0 and ", record.rank,
                             " captured different keys, of hash ", first.key, " and ", theirs.key);
    require<DivergenceError>(theirs.uses == first.uses, where, "ranks 0 and ", record.rank,
                             " replayed other graphs, or in another order: hash ", first.uses,
                             " and ", theirs.uses);
    said.bytes = std::max(said.bytes, record.bytes);
    said.latest_bytes = std::max(said.latest_bytes, record.latest_bytes);
  }
  if (auto refusal = first_failure(records)) {
    said.ok = false;
    said.reason = std::move(*refusal);
  }
  return said;
}

}  // namespace detail
}  // namespace dpgather
