// MpiComm: the ranks are processes, on one host or many; buffers are host memory.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/argument_checks.hpp>
#include <dpgather/comm/communicator.hpp>
#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/batch.hpp>
#include <dpgather/comm/mpi/call.hpp>
#include <dpgather/comm/mpi/link.hpp>
#include <dpgather/core/config.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/core/stream.hpp>

namespace dpgather {

/// A Communicator over MPI-3 (Open MPI, MPICH); shapes, in-place rules and units are the concept's.
///
/// - One thread a rank uses it. Eager calls are done when they return.
/// - Sums are in the order that MPI takes; 16-bit floats add in float and round after each pair.
/// - A buffer has at most 2^31 - 1 elements, else InvalidArgument before anything moves.
/// - reduce_scatter in place costs one copy of the result; reduce_scatter_v with blocks that are not end to end
///   in rank order costs one copy of the blocks, in memory that is kept.
/// - A failure (abort, a peer that left, deadline, MPI error) is final: PeerError ever after. MPI cannot cancel a
///   collective: below CheckLevel::communicating, where ranks start to move data without having met, keep the
///   buffers of the failed call alive until the process ends.
/// - Destroying it while an exception unwinds aborts it, which frees the peers. Destroy graphs first.
template <CheckLevel Checks = static_cast<CheckLevel>(DPGATHER_CHECKS)>
class MpiComm {
 public:
  using memory_type = HostMemory;
  static constexpr CheckLevel checks = Checks;

  /// Collective over `parent`, which is duplicated. Blocks until all ranks of it are here.
  explicit MpiComm(MPI_Comm parent = MPI_COMM_WORLD,
                   std::chrono::milliseconds deadline = default_deadline)
      : MpiComm(std::make_unique<detail::MpiLink>(parent, deadline, "MpiComm"), -1) {}

  [[nodiscard]] int rank() const { return state_->link->rank(); }
  [[nodiscard]] int size() const { return state_->link->size(); }

  template <Element T>
  void all_gather(const T* send, T* recv, std::int64_t count, HostStream stream) {
    issue<T>({.op = Collective::all_gather, .count = count}, send, 1, recv, size(), size(), stream);
  }
  template <Element T>
  void all_reduce(const T* send, T* recv, std::int64_t count, HostStream stream) {
    issue<T>({.op = Collective::all_reduce, .count = count}, send, 1, recv, 1, 2, stream);
  }
  template <Element T>
  void reduce_scatter(const T* send, T* recv, std::int64_t count, HostStream stream) {
    issue<T>({.op = Collective::reduce_scatter, .count = count}, send, size(), recv, 1, size(),
             stream);
  }
  template <Element T>
  void broadcast(T* data, std::int64_t count, int root, HostStream stream) {
    issue<T>({.op = Collective::broadcast, .root = root, .count = count}, data, 1, data, 1, 1,
             stream);
  }
  template <Element T>
  void all_gather_v(const T* send, T* recv, Counts counts, Counts offsets, HostStream stream) {
    issue_v<T>(Collective::all_gather_v, send, recv, counts, offsets, stream);
  }
  template <Element T>
  void reduce_scatter_v(const T* send, T* recv, Counts counts, Counts offsets, HostStream stream) {
    issue_v<T>(Collective::reduce_scatter_v, send, recv, counts, offsets, stream);
  }

  /// The calls that `f` makes start together. All are eager, or all are recorded as one operation.
  /// If `f` throws, none of them is made.
  template <std::invocable F>
  void group(F&& f) {
    State& s = *state_;
    require(!s.grouping, s.where("group"), "groups do not nest");
    struct Grouping {
      State& state;
      explicit Grouping(State& at) : state(at) { state.grouping = true, state.used = 0; }
      ~Grouping() { state.grouping = false; }
    };
    {
      const Grouping grouping{s};
      std::forward<F>(f)();
    }
    if (s.used > 0) flush(s.used == 1 ? name(s.pending[0].signature.op) : "group");
  }

  /// Collective. The child has the parent's deadline and step, and fails apart from it.
  [[nodiscard]] MpiComm split(int color, int key) {
    State& s = *state_;
    const ErrorContext where = s.where("split");
    require(!s.grouping, where, "split is not possible inside a group");
    require(color >= 0, where, "color is ", color, ", must not be negative");
    return MpiComm(s.runner.split(*s.link, color, key, checks == CheckLevel::communicating, where),
                   s.step);
  }

  void abort(std::string_view reason) {
    state_->link->abort(concat("rank ", rank(), " aborted: ", reason));
  }
  void check() { state_->link->check(state_->where("check")); }
  void set_step(std::int64_t step) { state_->step = step; }
  [[nodiscard]] std::uint64_t elements_moved() const { return state_->moved; }

 private:
  struct State {
    State(std::unique_ptr<detail::MpiLink> l, std::int64_t at_step)
        : link(std::move(l)),
          step(at_step),
          lifeline(concat("MpiComm rank ", link->rank(), " of ", link->size())) {}

    [[nodiscard]] ErrorContext where(std::string_view operation) const {
      return {link->rank(), step, operation};
    }
    void run(std::vector<detail::MpiCall>& batch, std::size_t count, std::string_view operation) {
      moved +=
          runner.run(*link, batch, count, checks == CheckLevel::communicating, where(operation));
    }
    std::unique_ptr<detail::MpiLink> link;
    std::int64_t step;
    std::uint64_t moved = 0;
    detail::MpiBatch runner;
    std::vector<detail::MpiCall> pending;  // a pool: `used` of them are calls of the open group
    std::size_t used = 0;
    bool grouping = false;
    HostStream stream;
    Lifeline lifeline;  // first to go
  };
  MpiComm(std::unique_ptr<detail::MpiLink> link, std::int64_t step)
      : state_(std::make_unique<State>(std::move(link), step)) {}

  /// `sends`, `receives`: elements of either buffer, and `moves` those that travel, in counts.
  template <Element T>
  void issue(CallSignature signature, const T* send, int sends, T* recv, int receives, int moves,
             HostStream stream) {
    State& s = *state_;
    const ErrorContext where = s.where(name(signature.op));
    detail::mpi_require_fits(signature.count, std::max(sends, receives), where);
    check_call<Checks>(signature, send, recv, rank(), size(), where);
    signature.dtype = ElementTraits<T>::dtype;
    detail::MpiCall& call = next_call(stream, where);
    call.signature = signature;
    set_buffers(call, send, sends * signature.count, recv, receives * signature.count,
                moves * signature.count);
    queue(stream);
  }
  template <Element T>
  void issue_v(Collective op, const T* send, T* recv, Counts counts, Counts offsets,
               HostStream stream) {
    State& s = *state_;
    const ErrorContext where = s.where(name(op));
    check_call_v<Checks>(op, send, recv, counts, offsets, rank(), size(), where);
    detail::MpiCall& call = next_call(stream, where);
    call.signature = {.op = op, .dtype = ElementTraits<T>::dtype};
    const std::int64_t end = detail::mpi_set_blocks(call, counts, offsets, where);
    const std::int64_t own = counts[static_cast<std::size_t>(rank())];
    if (op == Collective::all_gather_v)
      set_buffers(call, send, own, recv, end, call.signature.count);
    else
      set_buffers(call, send, end, recv, own, size() * own);
    queue(stream);
  }
  static void set_buffers(detail::MpiCall& call, const void* send, std::int64_t send_count,
                          void* recv, std::int64_t recv_count, std::int64_t moved) {
    call.send = send;
    call.send_count = send_count;
    call.recv = recv;
    call.recv_count = recv_count;
    call.moved = static_cast<std::uint64_t>(moved);
  }

  detail::MpiCall& next_call(HostStream stream, const ErrorContext& where) {
    State& s = *state_;
    if (!s.grouping) s.used = 0;
    require(s.used == 0 || stream.capturing() == s.stream.capturing(), where,
            "a group is all captured or all eager");
    if (s.pending.size() == s.used) s.pending.emplace_back();
    return s.pending[s.used];
  }
  void queue(HostStream stream) {
    State& s = *state_;
    s.stream = stream;
    ++s.used;
    if (!s.grouping) flush(name(s.pending[0].signature.op));
  }

  void flush(std::string_view operation) {
    State& s = *state_;
    const std::size_t count = std::exchange(s.used, 0);
    const HostStream stream = std::exchange(s.stream, HostStream());
    if (!stream.capturing()) {
      stream.submit(operation, [&s, count, operation] { s.run(s.pending, count, operation); });
      return;
    }
    // The pool is used again, so a recording has calls of its own. The state stays where it is when
    // this handle moves; the lifeline stops a replay once it is gone.
    std::vector<detail::MpiCall> calls(s.pending.begin(),
                                       s.pending.begin() + static_cast<std::ptrdiff_t>(count));
    stream.hold(s.lifeline);
    stream.submit(operation, [&s, calls = std::move(calls), operation]() mutable {
      s.run(calls, calls.size(), operation);
    });
  }

  std::unique_ptr<State> state_;
};

static_assert(Communicator<MpiComm<CheckLevel::free>> &&
              Communicator<MpiComm<CheckLevel::communicating>>);

}  // namespace dpgather
