// One collective call as ranks compare it: same operation, type and counts, or an error that lists
// them all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather {

enum class Collective : std::uint8_t {
  none,
  all_gather,
  all_reduce,
  reduce_scatter,
  broadcast,
  all_gather_v,
  reduce_scatter_v,
  split,
  barrier,
};

[[nodiscard]] constexpr std::string_view name(Collective op) {
  constexpr std::string_view names[] = {
      "none",         "all_gather",       "all_reduce", "reduce_scatter", "broadcast",
      "all_gather_v", "reduce_scatter_v", "split",      "barrier"};
  return names[static_cast<std::size_t>(op)];
}

/// What must be equal on all ranks. `count` is the sum of counts for a v-collective, and
/// `counts_hash` is 0 for the others. Trivially copyable: it travels between processes as bytes.
struct CallSignature {
  Collective op = Collective::none;
  DType dtype = DType::float32;
  std::int32_t root = 0;
  std::int64_t count = 0;
  std::uint64_t counts_hash = 0;

  friend constexpr bool operator==(const CallSignature&, const CallSignature&) = default;

  [[nodiscard]] std::string to_string() const {
    if (op == Collective::none || op == Collective::split || op == Collective::barrier)
      return std::string(name(op));
    std::string text = concat(name(op), " of ", count, " ", name(dtype));
    if (op == Collective::broadcast) text += concat(" from root ", root);
    if (counts_hash != 0) text += concat(" (counts #", counts_hash % 100000, ")");
    return text;
  }
};

[[nodiscard]] constexpr std::uint64_t hash_counts(Counts counts) {
  Hash hash;
  for (const auto count : counts) hash.add(count);
  return hash.value() | 1u;
}

/// "ranks called different collectives: rank 0: all_gather of 4 float; rank 1: ...", at most 64
/// ranks listed.
template <class SignatureOf>
[[nodiscard]] std::string mismatch_text(int size, const SignatureOf& signature_of) {
  std::string text = "ranks called different collectives:";
  for (int rank = 0; rank < size && rank < 64; ++rank)
    text += concat(rank == 0 ? " rank " : "; rank ", rank, ": ", signature_of(rank).to_string());
  if (size > 64) text += concat("; and ", size - 64, " more");
  return text;
}

}  // namespace dpgather
