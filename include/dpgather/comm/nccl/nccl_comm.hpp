// NcclComm: ranks are processes or threads with a GPU each, on one host or many.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dpgather/comm/argument_checks.hpp>
#include <dpgather/comm/communicator.hpp>
#include <dpgather/comm/nccl/batch.hpp>
#include <dpgather/comm/nccl/connect.hpp>
#include <dpgather/comm/nccl/memory.hpp>
#include <dpgather/comm/nccl/options.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>
#include <dpgather/comm/nccl/windows.hpp>
#include <dpgather/core/cuda/memory.hpp>

namespace dpgather {

/// A Communicator over NCCL; shapes, in-place rules and units are the concept's. Buffers are device
/// memory of this rank's GPU, done in stream order.
///
/// - One thread a rank uses it; `abort` may come from any.
/// - v-collectives are one group of broadcasts or reduces, and the plain collective where blocks are
///   equal and end to end. Their counts are baked into a capture.
/// - Sums are in the order that NCCL takes.
/// - Ranks' calls are not compared, at no check level: NCCL has no side channel on the host. What
///   differs ends at the deadline of `synchronize`, as does a peer that is gone.
/// - A failure (abort, NCCL's asynchronous error, deadline) is final: the communicator is aborted,
///   PeerError ever after. A deadline or NCCL error fails those split off it, and its parent, as
///   well: work of any of them may be what a stream is stuck on. An abort reaches peers through
///   NCCL's own error (between hosts) or their deadlines.
/// - Capture inside a CaptureScope: graphs that hold it are counted so. Destroy them first; if they
///   are alive the destructor reports it and leaves the NCCL communicator alive.
/// - Destroying it while an exception unwinds aborts it. Else it is finalized, which waits for the
///   work that was issued.
template <MemorySpace Memory = DeviceMemory, CheckLevel Checks = CheckLevel{DPGATHER_CHECKS}>
class NcclComm {
  static_assert(std::is_same_v<typename Memory::stream_type, CudaStream>,
                "NcclComm moves device memory: DeviceMemory or NcclMemory");

 public:
  using memory_type = Memory;
  static constexpr CheckLevel checks = Checks;

  /// Collective: returns once all `size` ranks of `id` are here, each with a GPU of its own.
  NcclComm(const NcclUniqueId& id, int rank, int size, const NcclOptions& options = {})
      : NcclComm(detail::nccl_connect(id, rank, size, options)) {}

  [[nodiscard]] int rank() const { return state_->link->rank; }
  [[nodiscard]] int size() const { return state_->link->size; }
  /// Differs from that of any other NcclComm of this process: part of a graph's key.
  [[nodiscard]] std::uint64_t generation() const { return state_->generation; }
  [[nodiscard]] const NcclOptions& options() const { return state_->link->options(); }
  [[nodiscard]] const Lifeline& lifeline() const { return state_->link->lifeline(); }
  /// Captured calls count at each launch of their graph, if captured inside a CaptureScope.
  [[nodiscard]] std::uint64_t elements_moved() const { return state_->link->moved; }
  void set_step(std::int64_t step) { state_->link->step.store(step); }

  template <Element T>
  void all_gather(const T* send, T* recv, std::int64_t count, CudaStream stream) {
    issue({.op = Collective::all_gather, .count = count}, send, recv, stream);
  }
  template <Element T>
  void all_reduce(const T* send, T* recv, std::int64_t count, CudaStream stream) {
    issue({.op = Collective::all_reduce, .count = count}, send, recv, stream);
  }
  template <Element T>
  void reduce_scatter(const T* send, T* recv, std::int64_t count, CudaStream stream) {
    issue({.op = Collective::reduce_scatter, .count = count}, send, recv, stream);
  }
  template <Element T>
  void broadcast(T* data, std::int64_t count, int root, CudaStream stream) {
    issue<T>({.op = Collective::broadcast, .root = root, .count = count}, data, data, stream);
  }
  template <Element T>
  void all_gather_v(const T* send, T* recv, Counts counts, Counts offsets, CudaStream stream) {
    issue_v(Collective::all_gather_v, send, recv, counts, offsets, stream);
  }
  template <Element T>
  void reduce_scatter_v(const T* send, T* recv, Counts counts, Counts offsets, CudaStream stream) {
    issue_v(Collective::reduce_scatter_v, send, recv, counts, offsets, stream);
  }

  /// The calls that `f` makes, all on one stream, are one launch. Counts and offsets are copied. If
  /// `f` throws, none of them is made.
  template <std::invocable F>
  void group(F&& f) {
    State& s = *state_;
    require(!s.grouping, s.link->where("group"), "groups do not nest");
    struct Grouping {
      State& state;
      explicit Grouping(State& at) : state(at) {
        state.grouping = true, state.streams = 0, state.batch.clear();
      }
      ~Grouping() { state.grouping = false; }
    };
    {
      const Grouping grouping{s};
      std::forward<F>(f)();
    }
    if (!s.batch.empty()) s.flush();
  }

  /// Collective. The child has the parent's options, step and watchdog.
  [[nodiscard]] NcclComm split(int color, int key) {
    require(!state_->grouping, state_->link->where("split"),
            "split is not possible inside a group");
    return NcclComm(detail::nccl_split(*state_->link, color, key));
  }

  void abort(std::string_view reason) {
    state_->link->fail(concat("rank ", rank(), " aborted: ", reason));
  }
  void check() { state_->link->check(state_->link->where("check")); }

  /// Waits on the host until the work of `stream` is done. In place of cudaStreamSynchronize, which
  /// waits for ever for a peer that is gone: past the deadline this throws TimeoutError, and at once
  /// what NCCL or CUDA found.
  void synchronize(CudaStream stream) {
    synchronize(stream, [] {});
  }
  /// `also()` is called again and again meanwhile, and ends the wait by throwing: a control plane's
  /// `check`, say, which knows long before the deadline that a peer has given up.
  template <std::invocable Also>
  void synchronize(CudaStream stream, const Also& also) {
    const ErrorContext at = state_->link->where("synchronize");
    require(!stream.capturing(), at, "the stream is capturing");
    state_->link->synchronize(stream, at, also);
  }
  /// For a wait of your own, with NcclOptions::watchdog: `what` is a literal. Past the deadline the
  /// watchdog aborts, which ends the wait.
  [[nodiscard]] NcclGuard guard(const char* what) {
    require(options().watchdog, state_->link->where("guard"),
            "there is no watchdog to see to it: set NcclOptions::watchdog");
    return NcclGuard(state_->link->guarded, what);
  }

  /// Collective, in the same order on all ranks: registers `[data, data + bytes)`, of NcclMemory, as
  /// a window, so that NCCL may have peers read and write it directly. False if NCCL (2.27 or newer)
  /// cannot here; calls work all the same.
  bool attach(void* data, std::size_t bytes) requires std::same_as<Memory, NcclMemory> {
    return detail::nccl_attach(*state_->link, data, bytes);
  }
  /// Collective: takes back an `attach`; work on it must be done. Does nothing for other addresses.
  /// Errors are reported, not thrown: owners of buffers call it as they go.
  void detach(void* data) noexcept requires std::same_as<Memory, NcclMemory> {
    detail::nccl_detach(*state_->link, data);
  }

 private:
  struct State {
    explicit State(std::unique_ptr<detail::NcclLink> l)
        : link(std::move(l)), batch(link->rank, link->size) {}

    /// On a capturing stream the calls are recorded; they hold the communicator.
    void flush() {
      const bool capturing = stream.capturing();
      if (capturing) stream.hold(link->lifeline());
      link->run(link->where(batch.operation()),
                [this](ncclComm_t comm) { return batch.issue(comm, stream); });
      if (!capturing)
        link->moved += batch.moved();
      else
        stream.on_launch([to = &link->moved, n = batch.moved()] { *to += n; });
    }
    static std::uint64_t next_generation() {
      static std::atomic<std::uint64_t> last{0};
      return ++last;
    }
    std::unique_ptr<detail::NcclLink> link;
    detail::NcclBatch batch;
    CudaStream stream;
    int streams = 0;  // calls of the group so far, dropped ones included
    bool grouping = false;
    const std::uint64_t generation = next_generation();
  };
  explicit NcclComm(std::unique_ptr<detail::NcclLink> link)
      : state_(std::make_unique<State>(std::move(link))) {}

  template <Element T>
  void issue(detail::NcclCall call, const T* send, T* recv, CudaStream stream) {
    const ErrorContext at = state_->link->where(name(call.op));
    state_->link->failure.check(at);
    check_call<Checks>({.op = call.op, .root = call.root, .count = call.count}, send, recv, rank(),
                       size(), at);
    queue(at, stream, [&] {
      call.dtype = ElementTraits<T>::dtype;
      call.send = send;
      call.recv = recv;
      state_->batch.add(call);
    });
  }
  template <Element T>
  void issue_v(Collective op, const T* send, T* recv, Counts counts, Counts offsets,
               CudaStream stream) {
    const ErrorContext at = state_->link->where(name(op));
    state_->link->failure.check(at);
    check_call_v<Checks>(op, send, recv, counts, offsets, rank(), size(), at);
    queue(at, stream, [&] {
      state_->batch.add_v({.op = op, .dtype = ElementTraits<T>::dtype, .send = send, .recv = recv},
                          counts, offsets);
    });
  }
  template <class Add>
  void queue(const ErrorContext& at, CudaStream stream, const Add& add) {
    State& s = *state_;
    if (!s.grouping) {
      s.streams = 0;
      s.batch.clear();
    }
    require(s.streams++ == 0 || s.stream == stream, at, "the calls of a group are on one stream");
    s.stream = stream;
    add();
    if (!s.grouping && !s.batch.empty()) s.flush();
  }

  std::unique_ptr<State> state_;
};

static_assert(Communicator<NcclComm<>> && Communicator<NcclComm<NcclMemory>>);

}  // namespace dpgather
