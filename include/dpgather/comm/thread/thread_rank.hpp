// One rank of a ThreadComm: how it meets its peers and what it does when all have arrived.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/comm/thread/staging.hpp>
#include <dpgather/core/stream.hpp>

namespace dpgather::detail {

/// Calls with the counts they point to, as a recording keeps them.
struct BakedCalls {
  explicit BakedCalls(const std::vector<ThreadCall>& from) : calls(from) {
    for (ThreadCall& call : calls) {
      call.counts = keep(call.counts);
      call.offsets = keep(call.offsets);
    }
  }
  Counts keep(Counts counts) {
    return *values.emplace_back(
        std::make_unique<std::vector<std::int64_t>>(counts.begin(), counts.end()));
  }
  std::vector<ThreadCall> calls;
  std::vector<std::unique_ptr<std::vector<std::int64_t>>> values;
};

/// Lives at one address, so that recorded calls can point to it.
struct ThreadRank {
  ThreadRank(std::shared_ptr<ThreadHub> h, int r)
      : hub(std::move(h)), rank(r), lifeline(concat("ThreadComm of rank ", r)) {
    require(hub != nullptr, {.rank = rank, .operation = "ThreadComm"}, "the hub is null");
    hub->join(rank);
  }
  ThreadRank(const ThreadRank&) = delete;
  ThreadRank& operator=(const ThreadRank&) = delete;
  ~ThreadRank() {
    if (std::uncaught_exceptions() > exceptions)
      hub->fail(concat("rank ", rank, " ended with an exception"));
    hub->leave(rank);
  }
  [[nodiscard]] ErrorContext where(std::string_view operation) const {
    return {rank, step, operation};
  }

  [[nodiscard]] static std::string_view operation(const std::vector<ThreadCall>& calls) {
    return calls.size() == 1 ? name(calls[0].signature.op) : "group";
  }

  /// Runs `calls` (at least one) together, in one rendezvous if they are small.
  void run(const std::vector<ThreadCall>& calls) {
    const ErrorContext at = where(operation(calls));
    Meeting here{*hub, rank, ++meeting};
    here.calls(rank).assign(calls.begin(), calls.end());
    here.staged = can_stage(calls, hub->size(), hub->staged_limit());
    if (here.staged && hub->size() > 1)
      each(here, [&](const ThreadCall& call, std::size_t, std::int64_t begin) {
        stage(call, rank, hub->size(), here.staging(rank) + begin);
      });
    hub->enter(rank, at);
    compare(at, meeting);
    bool two_passes = false;
    const auto pass = [&, this](bool second) {
      each(here, [&, this](const ThreadCall& call, std::size_t i, std::int64_t begin) {
        if (call.run != nullptr) moved += call.run(here, i, begin, second);
        two_passes |= call.signature.op == Collective::all_reduce;
      });
    };
    pass(false);
    if (two_passes) {
      hub->rejoin();
      pass(true);
    }
    // Peers are at this rank's buffers still.
    if (!here.staged && !nothing_to_read(here)) hub->rejoin();
  }

  /// After `enter`: every rank sees the same calls, so either none throws or all do.
  void compare(const ErrorContext& at, std::uint32_t number = 0) {
    const auto same = [](const ThreadCall& a, const ThreadCall& b) {
      return a.signature == b.signature;
    };
    const auto& first = hub->calls(0, number);
    for (int r = 1; r < hub->size(); ++r) {
      const auto& theirs = hub->calls(r, number);
      const auto difference =
          std::mismatch(first.begin(), first.end(), theirs.begin(), theirs.end(), same);
      if (difference.first == first.end() && difference.second == theirs.end()) continue;
      const auto index = static_cast<std::size_t>(difference.first - first.begin());
      const std::string text = mismatch_text(hub->size(), [&](int peer) {
        const auto& calls = hub->calls(peer, number);
        return index < calls.size() ? calls[index].signature : CallSignature{};
      });
      hub->rejoin();
      hub->fail(text);
      throw MismatchError(at, text);
    }
  }

  /// `f(call, index, where its copies begin)` for each of this rank's calls.
  template <class F>
  void each(const Meeting& here, const F& f) {
    std::int64_t begin = 0;
    const auto& calls = here.calls(rank);
    for (std::size_t i = 0; i < calls.size(); ++i) {
      f(calls[i], i, begin);
      if (here.staged && i + 1 < calls.size())
        begin += staged_bytes(calls[i], hub->size(), hub->staged_limit());
    }
  }

  std::shared_ptr<ThreadHub> hub;
  int rank;
  std::int64_t step = -1;
  std::uint64_t moved = 0;
  std::uint32_t meeting = 0;  // as many on every rank
  int exceptions = std::uncaught_exceptions();
  bool grouping = false;
  std::vector<ThreadCall> pending;
  HostStream pending_stream;
  Lifeline lifeline;
};

}  // namespace dpgather::detail
