// Local checks of a collective's arguments, before anything is sent.
#pragma once

#include <cstdint>
#include <limits>

#include <dpgather/comm/call.hpp>
#include <dpgather/core/config.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather {

[[nodiscard]] constexpr std::int64_t sum_of(Counts counts) {
  std::int64_t sum = 0;
  for (const auto count : counts) sum += count;
  return sum;
}

namespace detail {

/// Ranges `[a, a + na)` and `[b, b + nb)` share an element.
template <class T>
[[nodiscard]] bool overlap(const T* a, std::int64_t na, const T* b, std::int64_t nb) {
  if (na <= 0 || nb <= 0) return false;
  const auto at = [](const T* p) { return reinterpret_cast<std::uintptr_t>(p); };
  return at(a) < at(b + nb) && at(b) < at(a + na);
}

}  // namespace detail

/// Counts, root and pointers, and the in-place rule: send and recv overlap in the one allowed way
/// or not at all.
template <CheckLevel Level, class T>
void check_call(const CallSignature& call, const T* send, const T* recv, int rank, int size,
                const ErrorContext& where) {
  if constexpr (Level >= CheckLevel::local) {
    const std::int64_t count = call.count;
    const std::int64_t limit = std::numeric_limits<std::int64_t>::max() / 16 / size;
    require(count >= 0 && count <= limit, where, "count is ", count, ", must be 0 to ", limit);
    require(call.op != Collective::broadcast || (call.root >= 0 && call.root < size), where,
            "root is ", call.root, ", must be 0 to ", size - 1);
    require(count == 0 || (send != nullptr && recv != nullptr), where,
            "a buffer is null, count is ", count);
    if (call.op == Collective::broadcast) return;
    const std::int64_t sent = call.op == Collective::reduce_scatter ? count * size : count;
    const std::int64_t received = call.op == Collective::all_gather ? count * size : count;
    const bool in_place = call.op == Collective::all_gather       ? send == recv + rank * count
                          : call.op == Collective::reduce_scatter ? recv == send + rank * count
                                                                  : send == recv;
    require(in_place || !detail::overlap(send, sent, recv, received), where,
            "send and recv overlap, and not as the in-place rule allows");
  }
}

template <CheckLevel Level, class T>
void check_call_v(Collective op, const T* send, const T* recv, Counts counts, Counts offsets,
                  int rank, int size, const ErrorContext& where) {
  // The sizes guard memory on every level: peers index these arrays.
  require(counts.size() == static_cast<std::size_t>(size) && offsets.size() == counts.size(), where,
          counts.size(), " counts and ", offsets.size(), " offsets given for ", size, " ranks");
  if constexpr (Level >= CheckLevel::local) {
    const T* const blocks = op == Collective::all_gather_v ? recv : send;
    const T* const own = op == Collective::all_gather_v ? send : recv;
    std::int64_t end = 0;
    for (int r = 0; r < size; ++r) {
      const auto i = static_cast<std::size_t>(r);
      require(counts[i] >= 0 && offsets[i] >= 0, where, "rank ", r, " has count ", counts[i],
              " at offset ", offsets[i], ", neither may be negative");
      require(counts[i] == 0 || blocks != nullptr, where, "a buffer is null, count of rank ", r,
              " is ", counts[i]);
      require(counts[i] == 0 || offsets[i] >= end, where, "block of rank ", r, " at offset ",
              offsets[i], " overlaps the blocks before it, which end at ", end);
      if (counts[i] > 0) end = offsets[i] + counts[i];
    }
    const auto me = static_cast<std::size_t>(rank);
    require(counts[me] == 0 || own != nullptr, where, "a buffer is null, own count is ",
            counts[me]);
    require(counts[me] == 0 || own == blocks + offsets[me] ||
                !detail::overlap(own, counts[me], blocks, end),
            where, "send and recv overlap, and not as the in-place rule allows");
  }
}

}  // namespace dpgather
