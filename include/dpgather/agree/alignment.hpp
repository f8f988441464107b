// Whether all ranks' records are of the same step, set-up and state; where not, who is where.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <dpgather/agree/record.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather::detail {

/// `phases` of a record that ends a capture.
inline constexpr std::int32_t confirmation = -1;

/// A record of another layout says nothing else that can be read.
inline void check_version(std::span<const StepRecord> records, const ErrorContext& where) {
  for (const StepRecord& theirs : records)
    require<DivergenceError>(theirs.magic == StepRecord::expected_magic, where,
                             "a rank runs another version of the library: record mark ",
                             theirs.magic, ", expected ", StepRecord::expected_magic);
}

/// Whether nothing is to be found by `check_alignment` and `first_failure`: one pass, no branch a
/// rank. A "no" may be a false alarm; those two then say what is wrong, if anything is.
[[nodiscard]] inline bool surely_aligned(std::span<const StepRecord> records) {
  const StepRecord& first = records[0];
  std::uint64_t differs = 0;
  std::uint32_t odd = 0;
  for (const StepRecord& theirs : records) {
    differs |= static_cast<std::uint64_t>(theirs.step ^ first.step) |
               (theirs.policy ^ first.policy) | (theirs.state ^ first.state);
    odd |= static_cast<std::uint32_t>(theirs.phases ^ first.phases) |
           static_cast<std::uint32_t>(theirs.failed);
  }
  return differs == 0 && odd == 0;
}

/// "ranks 0, 2" for those that `are(record)`.
template <class Are>
[[nodiscard]] std::string ranks_that(std::span<const StepRecord> records, const Are& are) {
  std::string ranks;
  int found = 0;
  for (const StepRecord& record : records)
    if (are(record)) ranks += concat(found++ == 0 ? "" : ", ", record.rank);
  return concat(found == 1 ? "rank " : "ranks ", ranks);
}

/// Two states of the graph cache, in words, and who is in them.
[[nodiscard]] inline std::string states(std::span<const StepRecord> records, std::uint64_t one,
                                        std::uint64_t other) {
  const auto side = [&](std::uint64_t state) {
    std::string words = concat("state ", state);
    for (const StepRecord& record : records)
      if (record.state == state && record.failed == 0 && record.message[0] != '\0')
        words = record.message.data();
    const auto in_it = [&](const StepRecord& record) { return record.state == state; };
    return concat(ranks_that(records, in_it), ": ", words);
  };
  return concat(side(one), "; ", side(other));
}

/// Every rank is at the same step with the same policies; throws DivergenceError naming both sides.
inline void check_alignment(std::span<const StepRecord> records, const ErrorContext& where) {
  for (const StepRecord& first = records[0]; const StepRecord& theirs : records) {
    const auto differ = [&](const auto& what, auto a, auto b) {
      require<DivergenceError>(a == b, where, what, " differs: rank 0 has ", a, ", rank ",
                               theirs.rank, " has ", b);
    };
    differ("step", first.step, theirs.step);
    differ("policy fingerprint", first.policy, theirs.policy);
    if (first.state != theirs.state)
      throw DivergenceError(where, concat("state of the graph cache differs: ",
                                          states(records, first.state, theirs.state)));
    const auto ends_capture = [](const StepRecord& record) {
      return record.phases == confirmation;
    };
    const auto does = [](bool ends) { return ends ? " ends a capture" : " posts a step"; };
    require<DivergenceError>(ends_capture(theirs) == ends_capture(first), where, "rank 0",
                             does(ends_capture(first)), ", rank ", theirs.rank,
                             does(ends_capture(theirs)));
    if (first.failed == 0 && theirs.failed == 0)
      differ("number of phases", first.phases, theirs.phases);
  }
}

/// The lowest rank that failed, and what it said.
[[nodiscard]] inline std::optional<std::string> first_failure(std::span<const StepRecord> records) {
  for (const StepRecord& record : records)
    if (record.failed != 0) return concat("rank ", record.rank, " failed: ", record.message.data());
  return std::nullopt;
}

}  // namespace dpgather::detail
