// ThreadComm on device memory: ranks are threads with their own streams on GPUs of one process.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include <dpgather/comm/argument_checks.hpp>
#include <dpgather/comm/communicator.hpp>
#include <dpgather/comm/thread/device/device_calls.hpp>
#include <dpgather/comm/thread/device/issue.hpp>
#include <dpgather/comm/thread/split.hpp>
#include <dpgather/comm/thread/thread_comm.hpp>
#include <dpgather/core/cuda/memory.hpp>

namespace dpgather {

struct ThreadDeviceOptions {
  /// Streams of captures whose graphs live at one time: one a captured graph, unless its capture
  /// forks. Each takes 8 * size * size bytes of pinned memory.
  int captured_streams = 1024;
};

/// A rank's handle; one thread uses it (abort may come from any). Construction is collective, and
/// the rank's device is the one current then; up to 64 ranks, any number of them on a device. A
/// call returns once all ranks have made it: the device may still be at it. Eager calls order streams by
/// events, captured ones by flags; neither allocates or waits for a device. Each rank reads straight
/// from its peers' buffers (cudaMalloc's, or with access of their own: enabling peers does not cover
/// memory pools). Sums are in rank order on every rank, in float for 16-bit types.
///
/// Calls of all ranks are compared at every check level, captured ones when they are captured: that
/// is a collective as well. A rank that cannot capture ends the capture of all with GraphError, and
/// the communicator stays usable; any other failure is for good, and frees streams that wait in
/// graphs (data is undefined then). A graph is launched by all ranks, in the same order as other
/// work of this communicator on that stream. docs/thread_device.md has the details.
template <CheckLevel Checks>
class ThreadComm<DeviceMemory, Checks> {
 public:
  using memory_type = DeviceMemory;
  static constexpr CheckLevel checks = Checks;

  ThreadComm(std::shared_ptr<ThreadHub> hub, int rank, ThreadDeviceOptions options = {})
      : options_(options),
        state_(
            std::make_unique<detail::DeviceRank>(std::move(hub), rank, options.captured_streams)) {}

  [[nodiscard]] int rank() const { return state_->base.rank; }
  [[nodiscard]] int size() const { return state_->base.hub->size(); }
  [[nodiscard]] std::uint64_t elements_moved() const { return state_->base.moved; }
  /// Differs from that of every other communicator of this process: for keys of graphs.
  [[nodiscard]] std::uint64_t generation() const { return generation_; }
  void set_step(std::int64_t step) { state_->base.step = step; }
  void check() { state_->base.hub->check(state_->base.where("check")); }
  void abort(std::string_view reason) {
    state_->fail(concat("rank ", state_->base.rank, " aborted: ", reason));
  }
  /// For a rank whose capture ended early, if it was not within a CaptureScope that an exception
  /// ended: peers that wait for its next captured call get GraphError. Captured calls go on after an
  /// eager one of all ranks.
  void abandon_capture() { state_->capture_abandoned(); }
  /// Waits on the host for a stream; past the hub's deadline, or when the communicator fails, it
  /// throws, where cudaStreamSynchronize would sit in front of a peer that never comes.
  void synchronize(CudaStream stream) {
    synchronize(stream, [] {});
  }
  /// `also()` is called again and again meanwhile, and ends the wait by throwing: a control plane's
  /// `check`, say.
  template <std::invocable Also>
  void synchronize(CudaStream stream, const Also& also) {
    const ErrorContext at = state_->base.where("synchronize");
    ThreadHub& hub = *state_->base.hub;
    const auto limit = std::chrono::steady_clock::now() + hub.deadline();
    for (int i = 0;; ++i) {
      const cudaError_t code = cudaStreamQuery(stream.get());
      if (!detail::cuda_pending(code)) {
        detail::cuda_check(code, "cudaStreamQuery", at);
        return hub.check(at);  // what a failed communicator freed has no result
      }
      hub.check(at);
      also();
      if (std::chrono::steady_clock::now() >= limit) {
        const auto text = concat("the stream was not done within ", hub.deadline().count(), " ms");
        state_->fail(concat("rank ", rank(), ": ", text));
        throw TimeoutError(at, text);
      }
      if (i < 64)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  template <Element T>
  void all_gather(const T* send, T* recv, std::int64_t count, CudaStream stream) {
    issue<T>({.op = Collective::all_gather, .count = count}, send, recv, stream);
  }
  template <Element T>
  void all_reduce(const T* send, T* recv, std::int64_t count, CudaStream stream) {
    issue<T>({.op = Collective::all_reduce, .count = count}, send, recv, stream);
  }
  template <Element T>
  void reduce_scatter(const T* send, T* recv, std::int64_t count, CudaStream stream) {
    issue<T>({.op = Collective::reduce_scatter, .count = count}, send, recv, stream);
  }
  template <Element T>
  void broadcast(T* data, std::int64_t count, int root, CudaStream stream) {
    issue<T>({.op = Collective::broadcast, .root = root, .count = count}, data, data, stream);
  }
  template <Element T>
  void all_gather_v(const T* send, T* recv, Counts counts, Counts offsets, CudaStream stream) {
    issue_v<T>(Collective::all_gather_v, send, recv, counts, offsets, stream);
  }
  template <Element T>
  void reduce_scatter_v(const T* send, T* recv, Counts counts, Counts offsets, CudaStream stream) {
    issue_v<T>(Collective::reduce_scatter_v, send, recv, counts, offsets, stream);
  }

  /// See PeerCommunicator.
  [[nodiscard]] bool peers_in_reach() const { return true; }
  void barrier(CudaStream stream) {
    queue<float>({.signature = {.op = Collective::barrier}}, stream);
  }
  [[nodiscard]] const std::uint32_t* stop_word() const { return state_->stop_word(); }
  void note_moved(std::int64_t elements) {
    state_->base.moved += static_cast<std::uint64_t>(elements);
  }

  /// All calls made by `f`, on one stream, meet in one rendezvous.
  template <std::invocable F>
  void group(F&& f) {
    detail::DeviceRank& state = *state_;
    require(!state.base.grouping, state.base.where("group"), "groups do not nest");
    struct Grouping {
      detail::DeviceRank& state;
      explicit Grouping(detail::DeviceRank& s) : state(s) {
        state.base.grouping = true, state.base.pending.clear(), state.issues.clear();
      }
      ~Grouping() { state.base.grouping = false; }
    };
    {
      const Grouping grouping{state};
      std::forward<F>(f)();
    }
    if (!state.base.pending.empty()) detail::run_calls(state);
  }

  /// Collective. Ranks of one color meet in a new hub, ordered by (key, rank).
  [[nodiscard]] ThreadComm split(int color, int key) {
    auto [hub, rank] = detail::split_hub(state_->base, color, key, state_->base.meeting);
    return ThreadComm(std::move(hub), rank, options_);
  }

 private:
  template <Element T>
  void issue(CallSignature signature, const T* send, T* recv, CudaStream stream) {
    signature.dtype = ElementTraits<T>::dtype;
    check_call<Checks>(signature, send, recv, rank(), size(),
                       state_->base.where(name(signature.op)));
    queue<T>({.signature = signature, .send = send, .recv = recv}, stream);
  }
  template <Element T>
  void issue_v(Collective op, const T* send, T* recv, Counts counts, Counts offsets,
               CudaStream stream) {
    check_call_v<Checks>(op, send, recv, counts, offsets, rank(), size(),
                         state_->base.where(name(op)));
    queue<T>({.signature = {.op = op,
                            .dtype = ElementTraits<T>::dtype,
                            .count = sum_of(counts),
                            .counts_hash = hash_counts(counts)},
              .send = send,
              .recv = recv,
              .counts = counts,
              .offsets = offsets},
             stream);
  }
  template <Element T>
  void queue(const ThreadCall& call, CudaStream stream) {
    detail::DeviceRank& state = *state_;
    if (!state.base.grouping) return group([&, this] { queue<T>(call, stream); });
    require(state.base.pending.empty() || state.stream == stream, state.base.where("group"),
            "the calls of a group are on one stream");
    state.stream = stream;
    state.base.pending.push_back(call);
    state.issues.push_back(&detail::issue_call<T>);
  }
  [[nodiscard]] static std::uint64_t next_generation() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }

  ThreadDeviceOptions options_;
  std::uint64_t generation_ = next_generation();
  std::unique_ptr<detail::DeviceRank> state_;
};

static_assert(PeerCommunicator<ThreadComm<DeviceMemory>>);

}  // namespace dpgather
