// MpiControl: the control plane between processes, by MPI.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/link.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather {

/// A ControlPlane on a communicator of its own, so that its records never mix with data. One thread
/// a rank uses it. A failure is final: PeerError ever after. Destroying it frees peers that still
/// wait for this rank, with an error; during unwinding it aborts.
class MpiControl {
 public:
  /// Collective over `parent`, which is duplicated. Blocks until all ranks of it are here.
  explicit MpiControl(MPI_Comm parent = MPI_COMM_WORLD,
                      std::chrono::milliseconds deadline = default_deadline)
      : state_(std::make_unique<State>(parent, deadline)) {}

  [[nodiscard]] int rank() const { return state_->link.rank(); }
  [[nodiscard]] int size() const { return state_->link.size(); }

  /// Starts an all-gather of `mine`, [bytes], of the same length on all ranks; copies it.
  void post(std::span<const std::byte> mine) {
    State& s = *state_;
    const ErrorContext where{.rank = rank(), .operation = "post"};
    s.link.check(where);
    require(!s.posted, where, "the record before was not waited for; one is outstanding at a time");
    const auto ranks = static_cast<std::size_t>(size());
    require(mine.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) / ranks, where,
            "a record of ", mine.size(),
            " bytes is too long, MPI's limit is 2^31 - 1 for all ranks together");
    s.all.resize(ranks * mine.size());
    std::copy(mine.begin(), mine.end(),
              s.all.begin() + rank() * static_cast<std::ptrdiff_t>(mine.size()));
    s.link.started(
        MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, s.all.data(), static_cast<int>(mine.size()),
                       MPI_BYTE, s.link.calls(), &s.request),
        "MPI_Iallgather", where);
    s.posted = true;
  }

  /// Ends it: `all`, [size * bytes], receives the records in rank order.
  void wait(std::span<std::byte> all) {
    State& s = *state_;
    const ErrorContext where{.rank = rank(), .operation = "wait"};
    if (!s.posted || s.link.failed()) s.link.check(where);
    require(s.posted, where, "no record was posted");
    require(all.size() == s.all.size(), where, "room for ", all.size(), " bytes, ", size(),
            " records are ", s.all.size());
    s.link.wait({&s.request, 1}, where);
    s.posted = false;
    std::copy(s.all.begin(), s.all.end(), all.begin());
  }

  void abort(std::string_view reason) {
    state_->link.abort(concat("rank ", rank(), " aborted: ", reason));
  }
  void check() { state_->link.check({.rank = rank(), .operation = "check"}); }

 private:
  struct State {
    State(MPI_Comm parent, std::chrono::milliseconds deadline)
        : link(parent, deadline, "MpiControl") {}
    ~State() {
      if (posted && mpi::usable()) detail::MpiProcess::get().keep(std::move(all));
    }
    std::vector<std::byte> all;
    MPI_Request request = MPI_REQUEST_NULL;
    bool posted = false;
    detail::MpiLink link;
  };
  std::unique_ptr<State> state_;
};

static_assert(ControlPlane<MpiControl>);

}  // namespace dpgather
