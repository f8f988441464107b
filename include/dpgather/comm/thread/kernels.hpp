// What a rank does once all ranks have arrived: read straight from its peers' buffers, no staging.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/sum_sources.hpp>

namespace dpgather::detail {

/// The `slice`-th of `slices` nearly equal parts of [0, count).
struct Part {
  std::int64_t first, count;
  static Part of(std::int64_t count, int slices, int slice) {
    const std::int64_t first = count * slice / slices;
    return {first, count * (slice + 1) / slices - first};
  }
};

/// Runs one call of this rank; `second` is the pass after a barrier that all-reduce needs. Returns
/// the elements read from ranks, own ones included.
template <Element T>
std::uint64_t run_call(ThreadHub& hub, int rank, std::size_t index, bool second) {
  const int size = hub.size();
  const ThreadCall& mine = hub.calls(rank)[index];
  const auto peer = [&](int r) -> const ThreadCall& { return hub.calls(r)[index]; };
  const auto sent = [&](int r) { return static_cast<const T*>(peer(r).send); };
  const auto received = [&](int r) { return static_cast<const T*>(peer(r).recv); };
  T* const recv = static_cast<T*>(mine.recv);
  const std::int64_t count = mine.signature.count;
  std::uint64_t moved = 0;
  const auto copy = [&](T* to, const T* from, std::int64_t n) {
    if (n > 0 && to != from)
      std::memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(n) * sizeof(T));
    moved += static_cast<std::uint64_t>(n);
  };
  // Every rank starts with its neighbour, so that ranks do not all read the same buffer at once.
  const auto for_peers = [&](const auto& body) {
    for (int i = 1; i <= size; ++i) body((rank + i) % size);
  };
  switch (mine.signature.op) {
    case Collective::all_gather:
      if (!second) for_peers([&](int r) { copy(recv + r * count, sent(r), count); });
      break;
    case Collective::all_gather_v:
      if (!second)
        for_peers([&](int r) {
          const auto i = static_cast<std::size_t>(r);
          copy(recv + mine.offsets[i], sent(r), mine.counts[i]);
        });
      break;
    case Collective::broadcast:
      if (!second) copy(recv, sent(mine.signature.root), count);
      break;
    case Collective::reduce_scatter:
    case Collective::reduce_scatter_v:
      if (!second) {
        const bool ragged = mine.signature.op == Collective::reduce_scatter_v;
        const auto own = static_cast<std::size_t>(rank);
        const std::int64_t n = ragged ? mine.counts[own] : count;
        sum_on_host(recv, n, size, [&](int r) {
          return sent(r) + (ragged ? peer(r).offsets[own] : rank * count);
        });
        moved += static_cast<std::uint64_t>(n) * static_cast<std::uint64_t>(size);
      }
      break;
    case Collective::all_reduce: {
      // Each rank sums one part of all buffers into its own recv, then fetches the other parts.
      if (!second) {
        const Part part = Part::of(count, size, rank);
        sum_on_host(recv + part.first, part.count, size,
                    [&](int r) { return sent(r) + part.first; });
        moved += static_cast<std::uint64_t>(part.count) * static_cast<std::uint64_t>(size);
      } else {
        for_peers([&](int r) {
          const Part part = Part::of(count, size, r);
          copy(recv + part.first, received(r) + part.first, part.count);
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

inline std::uint64_t run_call(ThreadHub& hub, int rank, std::size_t index, bool second) {
  switch (hub.calls(rank)[index].signature.dtype) {
    case DType::float32:
      return run_call<float>(hub, rank, index, second);
    case DType::float64:
      return run_call<double>(hub, rank, index, second);
    case DType::bfloat16:
      return run_call<bf16>(hub, rank, index, second);
    case DType::float16:
      return run_call<fp16>(hub, rank, index, second);
    case DType::int32:
      return run_call<std::int32_t>(hub, rank, index, second);
    case DType::int64:
      return run_call<std::int64_t>(hub, rank, index, second);
  }
  return 0;
}

}  // namespace dpgather::detail
