// The ControlPlane concept: one small all-gather a step between hosts, apart from the data plane.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>

namespace dpgather {

/// `post(mine)` starts an all-gather of one record and does not block; `wait(all)` ends it, after
/// which rank i's record is at `all[i * mine.size()]`. Every rank posts records of the same size;
/// one all-gather is outstanding at a time. `wait` throws PeerError when a rank aborted or left,
/// TimeoutError past the deadline; `check()` throws what `wait` would, if that is known by now, and
/// does not wait. Records are copied by `post`: the caller may reuse `mine` at
/// once. Neither call allocates after the first.
template <class P>
concept ControlPlane = requires(P& plane, std::span<const std::byte> mine, std::span<std::byte> all,
                                std::string_view reason) {
  { plane.rank() } -> std::same_as<int>;
  { plane.size() } -> std::same_as<int>;
  plane.post(mine);
  plane.wait(all);
  plane.abort(reason);
  plane.check();
};

/// How long a rank waits for its peers before it gives up, on either plane.
inline constexpr std::chrono::milliseconds default_deadline = std::chrono::minutes(10);

}  // namespace dpgather
