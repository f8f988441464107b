// The two-axis shape of a step: what attention and the FFN are launched with, and what a graph is
// keyed by.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/plan/forward.hpp>
#include <dpgather/plan/rule.hpp>

namespace dpgather {

/// How rows travel out, and partial sums back.
enum class Transport : std::uint8_t {
  max_len,               ///< all-gather / reduce-scatter of W * max rows
  sum_len_all_reduce,    ///< zero, copy own rows, all-reduce / all-reduce, slice
  sum_len_all_gather_v,  ///< all-gather-v / reduce-scatter-v of the rows that exist
  sum_len_peer_store,    ///< stores into peers' buffers / pulls from them and adds
  sum_len_hierarchical,  ///< the same inside a host, one exchange between the hosts' leaders
};
inline constexpr std::size_t transport_count = 5;

[[nodiscard]] constexpr std::string_view name(Transport transport) {
  constexpr std::string_view names[transport_count] = {"max_len", "sum_len", "sum_len_v",
                                                       "sum_len_peer", "sum_len_hier"};
  const auto i = static_cast<std::size_t>(transport);
  return i < transport_count ? names[i] : "unknown";
}
[[nodiscard]] constexpr LenMode len_mode(Transport transport) {
  return transport == Transport::max_len ? LenMode::max_len : LenMode::sum_len;
}
/// A graph may hold it: nothing that varies from step to step is an argument of the collective.
[[nodiscard]] constexpr bool graph_safe(Transport transport) {
  return transport != Transport::sum_len_all_gather_v;
}

/// Lens in rows. `is_static` shapes are capture sizes: counts are then read from DeviceCounts, and
/// captured code may depend on nothing else. Otherwise the shape is exact for one step and must not
/// be captured.
struct ShapeKey {
  std::int64_t local_len = 0;   ///< this rank's rows after padding (attention)
  std::int64_t global_len = 0;  ///< rows of the global buffer (FFN)
  Transport transport = Transport::max_len;
  Forward forward = Forward::idle;
  std::int32_t width = 1;  ///< rows per request
  bool is_static = false;
  std::int64_t step = -1;  ///< of an exact shape that a gather made, so that a stale one is known

  /// Requests that fit `local_len`.
  [[nodiscard]] constexpr std::int64_t requests() const { return local_len / width; }

  [[nodiscard]] constexpr std::uint64_t hash() const {
    return Hash{}
        .add(local_len)
        .add(global_len)
        .add(transport)
        .add(forward)
        .add(width)
        .add(is_static)
        .add(step)
        .value();
  }
  [[nodiscard]] std::string to_string() const {
    return concat(name(transport), " ", name(forward), " local_len ", local_len, " global_len ",
                  global_len, " width ", width, is_static ? " static" : " exact",
                  step >= 0 ? concat(" of step ", step) : "");
  }
  friend constexpr auto operator<=>(const ShapeKey&, const ShapeKey&) = default;
  // Implied by the line above, but nvcc then declares it without defining it.
  friend constexpr bool operator==(const ShapeKey&, const ShapeKey&) = default;
};

}  // namespace dpgather

template <>
struct std::hash<dpgather::ShapeKey> {
  std::size_t operator()(const dpgather::ShapeKey& key) const noexcept { return key.hash(); }
};
