// ThreadComm: ranks are threads of one process.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/argument_checks.hpp>
#include <dpgather/comm/communicator.hpp>
#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/comm/thread/kernels.hpp>
#include <dpgather/comm/thread/split.hpp>
#include <dpgather/comm/thread/thread_rank.hpp>

namespace dpgather {

/// A rank's handle; one thread uses it (abort may come from any). Results are there when a call
/// returns. Each rank reads straight from its peers' buffers, and in a one-sided reduce_scatter_v
/// writes into them, so a buffer must stay put until its call returns. Calls of a few kB
/// (ThreadHub::staged_limit) go by copies in the hub and meet once in place of twice; so does an
/// all-gather in place into one `recv` that all ranks share, which copies nothing. No other call may
/// share its `recv`. Sums are in rank order on every rank, in float for 16-bit types: the same bits
/// everywhere, run after run.
///
/// Calls of all ranks are compared at every check level (it is free here). After a mismatch, a
/// deadline or a peer's failure the communicator stays failed. Destroying a handle while peers wait
/// for it frees them with an error; destroying it while an exception passes fails the communicator
/// at once.
template <MemorySpace Memory = HostMemory, CheckLevel Checks = CheckLevel{DPGATHER_CHECKS}>
class ThreadComm {
  static_assert(std::is_same_v<Memory, HostMemory>,
                "ThreadComm moves host memory, and device memory with comm/thread_device.hpp");

 public:
  using memory_type = Memory;
  static constexpr CheckLevel checks = Checks;

  ThreadComm(std::shared_ptr<ThreadHub> hub, int rank)
      : state_(std::make_unique<detail::ThreadRank>(std::move(hub), rank)) {
    state_->hub->reserve(rank);
  }

  [[nodiscard]] int rank() const { return state_->rank; }
  [[nodiscard]] int size() const { return state_->hub->size(); }
  [[nodiscard]] std::uint64_t elements_moved() const { return state_->moved; }
  void set_step(std::int64_t step) { state_->step = step; }
  void check() { state_->hub->check(state_->where("check")); }
  void abort(std::string_view reason) {
    state_->hub->fail(concat("rank ", state_->rank, " aborted: ", reason));
  }

  template <Element T>
  void all_gather(const T* send, T* recv, std::int64_t count, HostStream stream) {
    issue<T>({.op = Collective::all_gather, .count = count}, send, recv, stream,
             send == recv + rank() * count ? 1 : 0);
  }
  template <Element T>
  void all_reduce(const T* send, T* recv, std::int64_t count, HostStream stream) {
    issue<T>({.op = Collective::all_reduce, .count = count}, send, recv, stream);
  }
  template <Element T>
  void reduce_scatter(const T* send, T* recv, std::int64_t count, HostStream stream) {
    issue<T>({.op = Collective::reduce_scatter, .count = count}, send, recv, stream);
  }
  template <Element T>
  void broadcast(T* data, std::int64_t count, int root, HostStream stream) {
    issue<T>({.op = Collective::broadcast, .root = root, .count = count}, data, data, stream);
  }
  template <Element T>
  void all_gather_v(const T* send, T* recv, Counts counts, Counts offsets, HostStream stream) {
    issue_v<T>(Collective::all_gather_v, send, recv, counts, offsets, stream);
  }
  template <Element T>
  void reduce_scatter_v(const T* send, T* recv, Counts counts, Counts offsets, HostStream stream) {
    issue_v<T>(Collective::reduce_scatter_v, send, recv, counts, offsets, stream);
  }

  /// See PeerCommunicator.
  [[nodiscard]] bool peers_in_reach() const { return true; }
  void barrier(HostStream stream) { queue({.signature = {.op = Collective::barrier}}, stream); }
  [[nodiscard]] const std::uint32_t* stop_word() const { return nullptr; }
  void note_moved(std::int64_t elements) { state_->moved += static_cast<std::uint64_t>(elements); }

  /// All calls made by `f` meet in one rendezvous.
  template <std::invocable F>
  void group(F&& f) {
    detail::ThreadRank& state = *state_;
    require(!state.grouping, state.where("group"), "groups do not nest");
    struct Grouping {
      detail::ThreadRank& state;
      explicit Grouping(detail::ThreadRank& s) : state(s) {
        state.grouping = true, state.pending.clear();
      }
      ~Grouping() { state.grouping = false; }
    };
    {
      const Grouping grouping{state};
      std::forward<F>(f)();
    }
    if (state.pending.empty()) return;
    const HostStream stream = state.pending_stream;
    stream.hold(state.lifeline);
    // Taken by value only when recording: an eager group must not allocate.
    if (stream.capturing())
      stream.submit(
          detail::ThreadRank::operation(state.pending),
          [s = &state, calls = detail::BakedCalls(state.pending)] { s->run(calls.calls); });
    else
      state.run(state.pending);
  }

  /// Collective. Ranks of one color meet in a new hub, ordered by (key, rank).
  [[nodiscard]] ThreadComm split(int color, int key) {
    auto [hub, rank] = detail::split_hub(*state_, color, key, ++state_->meeting);
    return ThreadComm(std::move(hub), rank);
  }

 private:
  template <Element T>
  void issue(CallSignature signature, const T* send, T* recv, HostStream stream,
             std::uint64_t in_place = 0) {
    signature.dtype = ElementTraits<T>::dtype;
    check_call<Checks>(signature, send, recv, rank(), size(), state_->where(name(signature.op)));
    queue({.signature = signature,
           .send = send,
           .recv = recv,
           .in_place = in_place,
           .run = &detail::run_call<detail::LayoutOf<T>>},
          stream);
  }
  template <Element T>
  void issue_v(Collective op, const T* send, T* recv, Counts counts, Counts offsets,
               HostStream stream) {
    check_call_v<Checks>(op, send, recv, counts, offsets, rank(), size(), state_->where(name(op)));
    const auto own = static_cast<std::size_t>(rank());
    queue({.signature = {.op = op,
                         .dtype = ElementTraits<T>::dtype,
                         .count = sum_of(counts),
                         .counts_hash = hash_counts(counts)},
           .send = send,
           .recv = recv,
           .counts = counts,
           .offsets = offsets,
           .in_place = op == Collective::all_gather_v && send == recv + offsets[own]
                           ? hash_counts(offsets)
                           : 0,
           .run = &detail::run_call<detail::LayoutOf<T>>},
          stream);
  }

  void queue(const ThreadCall& call, HostStream stream) {
    detail::ThreadRank& state = *state_;
    if (state.grouping) {
      require(state.pending.empty() || state.pending_stream.capturing() == stream.capturing(),
              state.where("group"), "a group is all captured or all eager");
      state.pending_stream = stream;
      state.pending.push_back(call);
      return;
    }
    group([&, this] { queue(call, stream); });
  }

  std::unique_ptr<detail::ThreadRank> state_;
};

static_assert(PeerCommunicator<ThreadComm<>>);

}  // namespace dpgather
