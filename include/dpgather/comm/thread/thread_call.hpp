// What a rank says of a collective call when ranks meet.
#pragma once

#include <cstddef>
#include <cstdint>

#include <dpgather/comm/call.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather {
namespace detail {
struct Meeting;
}

/// One collective call of one rank: what must match, and where its data lies.
struct ThreadCall {
  CallSignature signature;
  const void* send = nullptr;
  void* recv = nullptr;
  Counts counts = {};
  Counts offsets = {};
  /// Of an all-gather whose `send` is where it belongs in `recv`: what tells the places of all
  /// blocks; else 0.
  std::uint64_t in_place = 0;
  /// `run_call` of the type of elements, so that only the types in use are compiled; none of a barrier.
  std::uint64_t (*run)(const detail::Meeting&, std::size_t index, std::int64_t at,
                       bool second) = nullptr;
};

}  // namespace dpgather
