// Who meets whom after a split: one hub for each color.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/comm/thread/thread_rank.hpp>

namespace dpgather::detail {

/// Collective, at the rank's `meeting`. The hub of `color`, and the rank in it of the caller: ranks
/// are ordered by (key, rank).
[[nodiscard]] inline std::pair<std::shared_ptr<ThreadHub>, int> split_hub(ThreadRank& state,
                                                                          int color, int key,
                                                                          std::uint32_t meeting) {
  const ErrorContext where = state.where("split");
  require(color >= 0, where, "color is ", color, ", must not be negative");
  ThreadHub& hub = *state.hub;
  const int rank = state.rank;
  // Color and key travel as the two "counts" of the call.
  const std::int64_t mine[] = {color, key};
  hub.calls(rank, meeting).assign(1, {.signature = {.op = Collective::split}, .counts = mine});
  hub.enter(rank, where);
  state.compare(where, meeting);
  std::vector<std::pair<int, int>> members;  // (key, rank)
  for (int r = 0; r < hub.size(); ++r) {
    const Counts theirs = hub.calls(r, meeting)[0].counts;
    if (theirs[0] == color) members.emplace_back(static_cast<int>(theirs[1]), r);
  }
  std::sort(members.begin(), members.end());
  const auto leader = members.front().second;
  if (leader == rank) {
    hub.child(leader) = std::make_shared<ThreadHub>(static_cast<int>(members.size()),
                                                    hub.deadline(), hub.staged_limit());
    hub.adopt(hub.child(leader));
  }
  hub.rejoin();
  auto child = hub.child(leader);
  hub.rejoin();
  hub.child(rank).reset();
  const auto me = std::find(members.begin(), members.end(), std::pair(key, rank));
  return {std::move(child), static_cast<int>(me - members.begin())};
}

}  // namespace dpgather::detail
