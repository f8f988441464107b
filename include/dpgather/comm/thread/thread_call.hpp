// What a rank says of a collective call when ranks meet.
#pragma once

#include <cstdint>

#include <dpgather/comm/call.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather {

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
};

}  // namespace dpgather
