// What a rank launches for one call once it knows its peers' buffers: reads straight from them.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dpgather/comm/thread/device/bodies.hpp>
#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/core/cuda/stream.hpp>

namespace dpgather::detail {

template <Element T>
void launch_sum(CudaStream stream, Collective op, SumRanks<T>& body) {
  body.aligned = aligned16(body.out);
  for (int r = 0; r < body.ranks; ++r) body.aligned = body.aligned && aligned16(body.sources[r]);
  launch(stream, name(op), body.rows(), body);
}

/// As `run_call` of host memory: `second` is the pass that all-reduce has after an exchange. At most
/// one launch, which does nothing once `stop` is set. Returns the elements that are read from ranks, own ones included.
template <Element T>
std::uint64_t issue_call(ThreadHub& hub, int rank, std::size_t index, bool second,
                         const std::uint32_t* stop, CudaStream stream) {
  const int size = hub.size();
  const ThreadCall& mine = hub.calls(rank)[index];
  const auto peer = [&](int r) -> const ThreadCall& { return hub.calls(r)[index]; };
  const auto sent = [&](int r) { return static_cast<const T*>(peer(r).send); };
  T* const recv = static_cast<T*>(mine.recv);
  const Collective op = mine.signature.op;
  const std::int64_t count = mine.signature.count;
  if (second && op != Collective::all_reduce) return 0;

  CopyBlocks<BitsOf<T>> copy;
  copy.number = 0;
  copy.stop = stop;
  SumRanks<T> sum;
  sum.out = nullptr;
  sum.ranks = size;
  sum.stop = stop;
  std::uint64_t moved = 0;
  const auto take = [&](T* to, const T* from, std::int64_t n) {
    copy.add(from, to, n);
    moved += static_cast<std::uint64_t>(n);
  };
  const auto add = [&](T* to, std::int64_t n, const auto& source) {
    if (n == 0) return;
    for (int r = 0; r < size; ++r) sum.sources[r] = source(r);
    sum.out = to;
    sum.count = n;
    moved += static_cast<std::uint64_t>(n) * static_cast<std::uint64_t>(size);
  };
  // Every rank starts with its neighbour, so that ranks do not all read the same buffer at once.
  const auto for_peers = [&](const auto& body) {
    for (int i = 1; i <= size; ++i) body((rank + i) % size);
  };
  const auto own = static_cast<std::size_t>(rank);
  switch (op) {
    case Collective::all_gather:
      for_peers([&](int r) { take(recv + r * count, sent(r), count); });
      break;
    case Collective::all_gather_v:
      for_peers([&](int r) {
        const auto i = static_cast<std::size_t>(r);
        take(recv + mine.offsets[i], sent(r), mine.counts[i]);
      });
      break;
    case Collective::broadcast:
      take(recv, sent(mine.signature.root), count);
      break;
    case Collective::reduce_scatter:
      add(recv, count, [&](int r) { return sent(r) + rank * count; });
      break;
    case Collective::reduce_scatter_v:
      add(recv, mine.counts[own], [&](int r) { return sent(r) + peer(r).offsets[own]; });
      break;
    case Collective::all_reduce:
      // Each rank sums one part of all buffers into its own recv, then fetches the other parts.
      if (!second) {
        const Part part = aligned_part<T>(count, size, rank);
        add(recv + part.first, part.count, [&](int r) { return sent(r) + part.first; });
      } else {
        for_peers([&](int r) {
          const Part part = aligned_part<T>(count, size, r);
          take(recv + part.first, static_cast<const T*>(peer(r).recv) + part.first, part.count);
        });
      }
      break;
    case Collective::none:
    case Collective::split:
    case Collective::barrier:
      break;
  }
  if (copy.number > 0) launch(stream, name(op), copy.rows(), copy);
  if (sum.out != nullptr) launch_sum(stream, op, sum);
  return moved;
}

}  // namespace dpgather::detail
