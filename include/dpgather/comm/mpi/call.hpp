// One collective call over MPI: checked when made, run now or at replay.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include <dpgather/comm/call.hpp>
#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/link.hpp>
#include <dpgather/comm/mpi/process.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather::detail {

/// A call as it was made; copied whole into a recording. MPI takes counts as int, hence the
/// limit on each side of a call.
struct MpiCall {
  CallSignature signature;
  const void* send = nullptr;
  void* recv = nullptr;
  std::vector<int> counts, offsets;             // v-collectives only, [size]
  std::int64_t send_count = 0, recv_count = 0;  // extents in elements
  std::uint64_t moved = 0;

  [[nodiscard]] std::size_t bytes(std::int64_t count) const {
    return static_cast<std::size_t>(count * bytes_of(signature.dtype));
  }
  [[nodiscard]] const std::byte* block(const void* base, std::size_t i) const {
    return static_cast<const std::byte*>(base) + bytes(offsets[i]);
  }
  /// Any of `a[0, na)` is in `b[0, nb)`, in elements.
  [[nodiscard]] bool touches(const void* a, std::int64_t na, const void* b, std::int64_t nb) const {
    const auto x = reinterpret_cast<std::uintptr_t>(a);
    const auto y = reinterpret_cast<std::uintptr_t>(b);
    return na > 0 && nb > 0 && x < y + bytes(nb) && y < x + bytes(na);
  }
  /// A reduce-scatter whose result lies in what it reads.
  [[nodiscard]] bool reduces_in_place() const {
    return (signature.op == Collective::reduce_scatter ||
            signature.op == Collective::reduce_scatter_v) &&
           touches(send, send_count, recv, recv_count);
  }
};

/// Buffers of ours that one call in flight needs; they grow to what was needed and stay.
struct MpiScratch {
  std::vector<std::byte> packed, result;
};

inline constexpr std::int64_t mpi_max_elements = std::numeric_limits<int>::max();

/// On all check levels, since a larger number would not fit MPI's int.
inline void mpi_require_fits(std::int64_t count, int blocks, const ErrorContext& where) {
  require(count >= 0, where, "count is ", count, ", must not be negative");
  require(count <= mpi_max_elements / blocks, where, "a buffer of ", blocks, " x ", count,
          " elements is more than MPI's limit of ", mpi_max_elements);
}
/// Fills the v-part of `call` and returns where the last block ends.
inline std::int64_t mpi_set_blocks(MpiCall& call, Counts counts, Counts offsets,
                                   const ErrorContext& where) {
  std::int64_t sum = 0;
  std::int64_t end = 0;
  call.counts.assign(counts.size(), 0);
  call.offsets.assign(counts.size(), 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    require(counts[i] > 0 && offsets[i] >= 0 && counts[i] <= mpi_max_elements &&
                offsets[i] <= mpi_max_elements - counts[i],
            where, "block of rank ", i, " has ", counts[i], " elements at ", offsets[i],
            ", must be within 0 and MPI's limit of ", mpi_max_elements);
    call.counts[i] = static_cast<int>(counts[i]);
    call.offsets[i] = static_cast<int>(offsets[i]);
    sum += counts[i];
    end = std::max(end, offsets[i] + counts[i]);
  }
  require(sum <= mpi_max_elements, where, "counts add up to ", sum, ", MPI's limit is ",
          mpi_max_elements);
  call.signature.count = sum;
  call.signature.counts_hash = hash_counts(counts);
  return end;
}

/// Copies what MPI needs copied and starts the collective; MPI_REQUEST_NULL if there is nothing to
/// do.
///
/// In place by MPI_IN_PLACE, which must be the same on all ranks: a gather or all-reduce out of
/// place copies its own part to recv first, as MPI itself would. MPI's in-place reduce-scatter puts
/// the result elsewhere and spoils send, so ours goes by way of `scratch.result`. A
/// reduce-scatter-v needs its blocks end to end in rank order; other offsets are packed into
/// `scratch.packed`.
inline MPI_Request mpi_start(MpiLink& link, MpiCall& call, MpiScratch& scratch,
                             const ErrorContext& where) {
  MPI_Request request = MPI_REQUEST_NULL;
  const CallSignature& sig = call.signature;
  if (sig.count == 0) return request;  // on all ranks
  const MPI_Datatype type = mpi::datatype(sig.dtype);
  const MPI_Op sum = MpiProcess::get().sum_op(sig.dtype);
  const int count = static_cast<int>(sig.count);
  const auto rank = static_cast<std::size_t>(link.rank());
  auto* const recv = static_cast<std::byte*>(call.recv);
  const auto* send = static_cast<const std::byte*>(call.send);
  const auto own_part = [&](std::int64_t first, std::int64_t n) {
    if (n > 0 && send != recv + call.bytes(first))
      std::memcpy(recv + call.bytes(first), send, call.bytes(n));
  };
  // MPICH refuses a recv that is null or equal to send, even if it is to receive nothing.
  const auto result = [&]() -> void* {
    if (call.recv_count > 0 && !call.reduces_in_place()) return recv;
    const std::size_t bytes = call.bytes(std::max<std::int64_t>(call.recv_count, 1));
    if (scratch.result.size() < bytes) scratch.result.resize(bytes);
    return scratch.result.data();
  };
  switch (sig.op) {
    case Collective::all_gather:
      own_part(static_cast<std::int64_t>(rank) * sig.count, sig.count);
      link.started(MPI_Iallgather(MPI_IN_PLACE, 0, type, recv, count, type, link.calls(), &request),
                   "MPI_Iallgather", where);
      break;
    case Collective::all_gather_v:
      own_part(call.offsets[rank], call.counts[rank]);
      link.started(MPI_Iallgatherv(MPI_IN_PLACE, 0, type, recv, call.counts.data(),
                                   call.offsets.data(), type, link.calls(), &request),
                   "MPI_Iallgatherv", where);
      break;
    case Collective::all_reduce:
      own_part(0, sig.count);
      link.started(MPI_Iallreduce(MPI_IN_PLACE, recv, count, type, sum, link.calls(), &request),
                   "MPI_Iallreduce", where);
      break;
    case Collective::broadcast:
      link.started(MPI_Ibcast(recv, count, type, sig.root, link.calls(), &request), "MPI_Ibcast",
                   where);
      break;
    case Collective::reduce_scatter:
      link.started(
          MPI_Ireduce_scatter_block(send, result(), count, type, sum, link.calls(), &request),
          "MPI_Ireduce_scatter_block", where);
      break;
    case Collective::reduce_scatter_v: {
      void* const to = result();
      const std::byte* from = nullptr;  // start of all blocks if they lie end to end
      std::int64_t position = 0;
      bool dense = true;
      for (std::size_t i = 0; i < call.counts.size(); ++i) {
        if (call.counts[i] == 0) continue;
        if (from == nullptr) from = call.block(send, i);
        dense = dense && call.block(send, i) == from + call.bytes(position);
        position += call.counts[i];
      }
      if (!dense) {
        if (scratch.packed.size() < call.bytes(sig.count))
          scratch.packed.resize(call.bytes(sig.count));
        std::byte* to_block = scratch.packed.data();
        for (std::size_t i = 0; i < call.counts.size(); to_block += call.bytes(call.counts[i]), ++i)
          if (call.counts[i] > 0)
            std::memcpy(to_block, call.block(send, i), call.bytes(call.counts[i]));
        from = scratch.packed.data();
      }
      link.started(
          MPI_Ireduce_scatter(from, to, call.counts.data(), type, sum, link.calls(), &request),
          "MPI_Ireduce_scatter", where);
      break;
    }
    case Collective::none:
    case Collective::split:
    case Collective::barrier:
      break;
  }
  return request;
}

/// After the collective: brings the result of an in-place reduce-scatter to its place.
inline void mpi_finish(const MpiCall& call, const MpiScratch& scratch) {
  if (call.reduces_in_place())
    std::memcpy(call.recv, scratch.result.data(), call.bytes(call.recv_count));
}

}  // namespace dpgather::detail
