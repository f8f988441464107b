// Small calls need one rendezvous and not two: each rank copies what peers read into memory of the
// hub before it comes, and may leave without waiting until they have read it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/core/element.hpp>

namespace dpgather::detail {

/// Where the ranks of a hub are: their calls, and their copies if calls are `staged`. There are two
/// sets of each, by turns: a rank that writes one again has passed a rendezvous since, to which all
/// came after they had read it.
struct Meeting {
  ThreadHub& hub;
  int rank;
  std::uint32_t number;
  bool staged = false;

  [[nodiscard]] std::vector<ThreadCall>& calls(int r) const { return hub.calls(r, number); }
  [[nodiscard]] std::byte* staging(int r) const { return hub.staging(r, number); }
};

/// Bytes that a rank needs for `call`, rounded up to 64: as many on each. All follow from what ranks
/// compare, so they decide alike. More than `limit`, perhaps not exactly, if it does not fit.
[[nodiscard]] inline std::int64_t staged_bytes(const ThreadCall& call, int ranks,
                                               std::int64_t limit) {
  const std::int64_t count = call.signature.count;
  std::int64_t elements = 0;
  switch (call.signature.op) {
    case Collective::all_gather:
    case Collective::broadcast:
    case Collective::reduce_scatter_v:
      elements = count;
      break;
    case Collective::reduce_scatter:
      if (count > limit) return limit + 1;
      elements = count * ranks;
      break;
    case Collective::all_gather_v:
      for (const std::int64_t n : call.counts) elements = std::max(elements, n);
      break;
    case Collective::all_reduce:  // and a part of the sums
      if (count > limit) return limit + 1;
      elements = 2 * count;
      break;
    case Collective::none:
    case Collective::split:
    case Collective::barrier:
      break;
  }
  if (elements > limit) return limit + 1;
  return (elements * bytes_of(call.signature.dtype) + 63) / 64 * 64;
}

/// Whether there is room for copies of what all of `calls` send.
[[nodiscard]] inline bool can_stage(const std::vector<ThreadCall>& calls, int ranks,
                                    std::int64_t limit) {
  std::int64_t bytes = 0;
  for (const ThreadCall& call : calls) {
    bytes += staged_bytes(call, ranks, limit);
    if (bytes > limit) return false;
  }
  return true;
}

/// Copies what `rank` sends to `to`: blocks of a v-collective one behind the other.
inline void stage(const ThreadCall& call, int rank, int ranks, std::byte* to) {
  const std::int64_t size = bytes_of(call.signature.dtype);
  const auto copy = [&](std::int64_t from, std::int64_t elements) {
    if (elements <= 0) return;
    const auto bytes = static_cast<std::size_t>(elements * size);
    std::memcpy(to, static_cast<const std::byte*>(call.send) + from * size, bytes);
    to += bytes;
  };
  const std::int64_t count = call.signature.count;
  switch (call.signature.op) {
    case Collective::all_gather:
    case Collective::all_reduce:
      return copy(0, count);
    case Collective::broadcast:
      if (rank == call.signature.root) copy(0, count);
      return;
    case Collective::reduce_scatter:
      return copy(0, count * ranks);
    case Collective::all_gather_v:
      return copy(0, call.counts[static_cast<std::size_t>(rank)]);
    case Collective::reduce_scatter_v:
      for (std::size_t r = 0; r < call.counts.size(); ++r) copy(call.offsets[r], call.counts[r]);
      return;
    case Collective::none:
    case Collective::split:
    case Collective::barrier:
      return;
  }
}

/// Whether all of `calls` are all-gathers in place into one buffer that all ranks share: no rank
/// reads another's memory then.
[[nodiscard]] inline bool nothing_to_read(const Meeting& meeting) {
  const auto& mine = meeting.calls(meeting.rank);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const bool gathers = mine[i].signature.op == Collective::all_gather ||
                         mine[i].signature.op == Collective::all_gather_v;
    if (!gathers) return false;
    for (int r = 0; r < meeting.hub.size(); ++r) {
      const ThreadCall& theirs = meeting.calls(r)[i];
      if (theirs.in_place == 0 || theirs.in_place != mine[i].in_place ||
          theirs.recv != mine[i].recv)
        return false;
    }
  }
  return true;
}

}  // namespace dpgather::detail
