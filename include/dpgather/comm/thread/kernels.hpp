// What a rank does once all ranks have arrived: it reads from its peers' buffers, or from their copies,
// and writes to its own; in a one-sided reduce_scatter_v also to its peers'.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/comm/thread/staging.hpp>
#include <dpgather/core/copy_bytes.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/vector_sum.hpp>

namespace dpgather::detail {

/// The `slice`-th of `slices` nearly equal parts of [0, count).
struct Part {
  std::int64_t first, count;
  static Part of(std::int64_t count, int slices, int slice) {
    const std::int64_t first = count * slice / slices;
    return {first, count * (slice + 1) / slices - first};
  }
};

/// Elements [first, first + count) of `owner`'s block, in which all blocks before it have `before`
/// elements.
struct Share {
  int owner;
  std::int64_t first, count, before;
};

/// `f(share)` for what `rank` adds up of a reduce_scatter_v: its own block; but where one rank would
/// have over 5/4 of the mean to do, all ranks do equally much, and write into their peers' `recv`.
template <class F>
void for_shares(const ThreadCall& call, int size, int rank, bool staged, const F& f) {
  const Counts counts = call.counts;
  const std::int64_t all = call.signature.count;
  const std::int64_t most = *std::max_element(counts.begin(), counts.end());
  const bool spread = !staged && most > (all + all / 4) / size;
  // Of all blocks in a row.
  const Part part =
      spread ? Part::of(all, size, rank)
             : Part{std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0}),
                    counts[static_cast<std::size_t>(rank)]};
  std::int64_t before = 0;
  for (int owner = 0; owner < size; ++owner) {
    const std::int64_t count = counts[static_cast<std::size_t>(owner)];
    const std::int64_t first = std::max(part.first, before) - before;
    const std::int64_t end = std::min(part.first + part.count - before, count);
    if (end > first) f(Share{owner, first, end - first, before});
    before += count;
  }
}

/// Runs one call of this rank; `second` is the pass after a barrier that all-reduce needs. `at`:
/// where the call's copies begin, if it is staged. Returns the elements read from ranks, own ones
/// included.
template <Element T>
std::uint64_t run_call(const Meeting& meeting, std::size_t index, std::int64_t at, bool second) {
  const int rank = meeting.rank;
  const int size = meeting.hub.size();
  const ThreadCall& mine = meeting.calls(rank)[index];
  const auto peer = [&](int r) -> const ThreadCall& { return meeting.calls(r)[index]; };
  const auto copied = [&](int r) { return reinterpret_cast<T*>(meeting.staging(r) + at); };
  const auto from_copy = [&](int r) { return meeting.staged && r != rank; };
  const auto sent = [&](int r) -> const T* {
    return from_copy(r) ? copied(r) : static_cast<const T*>(peer(r).send);
  };
  T* const recv = static_cast<T*>(mine.recv);
  const std::int64_t count = mine.signature.count;
  std::uint64_t moved = 0;
  // What all ranks receive is more than the cache holds that they share.
  const std::int64_t received = mine.signature.op == Collective::all_gather ? count * size : count;
  const bool past_caches = received > cache_bytes() / size / static_cast<std::int64_t>(sizeof(T));
  const auto copy = [&](T* to, const T* from, std::int64_t n) {
    moved += static_cast<std::uint64_t>(n);
    if (n == 0 || to == from) return;
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    if (past_caches)
      copy_past_caches(to, from, bytes);
    else
      copy_bytes(to, from, bytes);
  };
  // Not from a copy of what is there: peers that share a buffer write to it.
  const auto fetch = [&](T* to, int r, std::int64_t n) {
    copy(to, peer(r).send == to ? to : sent(r), n);
  };
  // Every rank starts with its neighbour, so that ranks do not all read the same buffer at once.
  const auto for_peers = [&](const auto& body) {
    for (int i = 1; i <= size; ++i) body((rank + i) % size);
  };
  const auto add = [&](T* to, std::int64_t n, const auto& source) {
    std::array<const T*, 64> sources;
    if (static_cast<std::size_t>(size) <= sources.size()) {  // found once, not for each vector
      for (int r = 0; r < size; ++r) sources[static_cast<std::size_t>(r)] = source(r);
      sum_on_host(to, n, size, [&](int r) { return sources[static_cast<std::size_t>(r)]; });
    } else {
      sum_on_host(to, n, size, source);
    }
  };
  const auto note_added = [&](std::int64_t n) {
    moved += static_cast<std::uint64_t>(n) * static_cast<std::uint64_t>(size);
  };
  switch (mine.signature.op) {
    case Collective::all_gather:
      if (!second) for_peers([&](int r) { fetch(recv + r * count, r, count); });
      break;
    case Collective::all_gather_v:
      if (!second)
        for_peers([&](int r) {
          const auto i = static_cast<std::size_t>(r);
          fetch(recv + mine.offsets[i], r, mine.counts[i]);
        });
      break;
    case Collective::broadcast:
      if (!second) fetch(recv, mine.signature.root, count);
      break;
    case Collective::reduce_scatter:
      if (second) break;
      add(recv, count, [&](int r) { return sent(r) + rank * count; });
      note_added(count);
      break;
    case Collective::reduce_scatter_v:
      if (second) break;
      note_added(mine.counts[static_cast<std::size_t>(rank)]);
      for_shares(mine, size, rank, meeting.staged, [&](const Share& share) {
        const auto owner = static_cast<std::size_t>(share.owner);
        add(static_cast<T*>(peer(share.owner).recv) + share.first, share.count, [&](int r) {
          return sent(r) + share.first + (from_copy(r) ? share.before : peer(r).offsets[owner]);
        });
      });
      break;
    case Collective::all_reduce: {
      // Each rank sums one part of all buffers, then fetches the other parts.
      const auto sums = [&](int r) {
        return meeting.staged ? copied(r) + count : static_cast<T*>(peer(r).recv);
      };
      if (!second) {
        const Part part = Part::of(count, size, rank);
        add(sums(rank) + part.first, part.count, [&](int r) { return sent(r) + part.first; });
        note_added(part.count);
      } else {
        for_peers([&](int r) {
          const Part part = Part::of(count, size, r);
          copy(recv + part.first, sums(r) + part.first, part.count);
        });
      }
      break;
    }
    case Collective::none:
    case Collective::split:
    case Collective::barrier:
      break;
  }
  return moved;
}

}  // namespace dpgather::detail
