// IpcComm: processes of one host with a GPU each, which reach each other's memory by CUDA IPC.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/comm/ipc/join.hpp>
#include <dpgather/comm/ipc/link.hpp>
#include <dpgather/comm/ipc/options.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/lifeline.hpp>

namespace dpgather {

/// A PeerCommunicator made of another: `Base` (NcclComm<>, say) does the collectives, shapes, in-place
/// rules and units are its; this one adds what stores into peers' buffers need. Each rank is a process,
/// at most 64, all on one host, all GPUs visible to all. Where that is not so `peers_in_reach()` is
/// false, on all ranks, and the rest works.
///
/// - Construction, destruction, `split` and `reach` are collective. The device is the current one.
/// - `barrier(s)` is one kernel of one block; where some ranks share a GPU, stream memory operations of
///   all, and then `synchronize` has the deadline. It may be captured. The barriers of a communicator have
///   one order: those of several streams are ordered by events, or each stream has a communicator.
/// - A rank that does not come to a barrier within IpcOptions::deadline fails the communicator on all
///   ranks, itself too: TimeoutError from `check`, `synchronize` and DpGather::status, with one text.
///   From then on barriers end at once, and element work on peers' memory does nothing.
/// - Buffers that peers reach are cudaMalloc's; memory of pools and of NcclMemory cannot be exported.
/// - Destruction waits for the device, and for the peers until the deadline.
template <Communicator Base>
class IpcComm {
  static_assert(std::same_as<typename Base::memory_type::stream_type, CudaStream>,
                "IpcComm is for device memory");
  using Stream = typename Base::memory_type::stream_type;

 public:
  using memory_type = typename Base::memory_type;
  static constexpr CheckLevel checks = Base::checks;

  explicit IpcComm(Base base, const IpcOptions& options = {})
      : state_(std::make_unique<State>(std::move(base), options)) {}

  [[nodiscard]] int rank() const { return state_->base.rank(); }
  [[nodiscard]] int size() const { return state_->base.size(); }
  [[nodiscard]] Base& base() { return state_->base; }
  [[nodiscard]] std::uint64_t elements_moved() const {
    return state_->base.elements_moved() - state_->moved_to_meet + state_->moved;
  }
  [[nodiscard]] std::uint64_t generation() const requires requires(const Base& b) {
    b.generation();
  }
  { return state_->base.generation(); }
  void set_step(std::int64_t step) {
    state_->step = step;
    state_->base.set_step(step);
  }

  template <Element T>
  void all_gather(const T* send, T* recv, std::int64_t count, Stream stream) {
    base().all_gather(send, recv, count, stream);
  }
  template <Element T>
  void all_reduce(const T* send, T* recv, std::int64_t count, Stream stream) {
    base().all_reduce(send, recv, count, stream);
  }
  template <Element T>
  void reduce_scatter(const T* send, T* recv, std::int64_t count, Stream stream) {
    base().reduce_scatter(send, recv, count, stream);
  }
  template <Element T>
  void broadcast(T* data, std::int64_t count, int root, Stream stream) {
    base().broadcast(data, count, root, stream);
  }
  template <Element T>
  void all_gather_v(const T* send, T* recv, Counts counts, Counts offsets, Stream stream) {
    base().all_gather_v(send, recv, counts, offsets, stream);
  }
  template <Element T>
  void reduce_scatter_v(const T* send, T* recv, Counts counts, Counts offsets, Stream stream) {
    base().reduce_scatter_v(send, recv, counts, offsets, stream);
  }
  /// Collectives alone: no barrier.
  template <std::invocable F>
  void group(F&& f) {
    struct Grouping {
      State& state;
      explicit Grouping(State& at) : state(at) { state.grouping = true; }
      ~Grouping() { state.grouping = false; }
    } const grouping{*state_};
    base().group(std::forward<F>(f));
  }
  [[nodiscard]] IpcComm split(int color, int key) {
    return IpcComm(base().split(color, key), state_->options);
  }

  void abort(std::string_view reason) {
    if (state_->link)
      state_->link->abort(reason);
    else
      base().abort(reason);
  }
  void check() { state_->check(where("check")); }
  /// As the base's; throws what barriers found, too.
  void synchronize(Stream stream) {
    synchronize(stream, [] {});
  }
  template <std::invocable Also>
  void synchronize(Stream stream, const Also& also) {
    const ErrorContext at = where("synchronize");
    const auto start = std::chrono::steady_clock::now();
    detail::IpcLink* const link = state_->link.get();
    try {
      base().synchronize(stream, [&] {
        if (link != nullptr) link->check(at);
        if (link != nullptr && link->streams_wait() &&
            std::chrono::steady_clock::now() - start > link->deadline())
          link->give_up();
        also();
      });
    } catch (...) {
      state_->check(at);  // peers are told what the base found
      throw;
    }
    state_->check(at);
  }

  /// See PeerCommunicator.
  [[nodiscard]] bool peers_in_reach() const { return state_->out_of_reach.empty(); }
  void barrier(Stream stream) {
    const ErrorContext at = where("barrier");
    require(peers_in_reach(), at, "peers are out of reach: ", state_->out_of_reach);
    require(!state_->grouping, at, "a barrier is not possible inside a group");
    if (!state_->link) return;
    state_->link->check(at);
    stream.hold(state_->lifeline);
    if (state_->link->streams_wait())
      return detail::StreamBarrier::enqueue(stream, state_->link->barrier());
    launch_wait(stream, "barrier", size(), state_->link->deadline(), state_->link->barrier());
  }
  [[nodiscard]] const std::uint32_t* stop_word() const {
    return state_->link ? state_->link->stop_word() : nullptr;
  }
  void note_moved(std::int64_t elements) { state_->moved += static_cast<std::uint64_t>(elements); }
  /// Collective: the addresses of the buffers that the ranks give, any part of an allocation each,
  /// good on this rank's device. Destroy it on all ranks, before those buffers.
  [[nodiscard]] std::unique_ptr<detail::IpcMapping> reach(const void* own) {
    const ErrorContext at = where("reach");
    require(peers_in_reach(), at, "peers are out of reach: ", state_->out_of_reach);
    if (!state_->link) return std::make_unique<detail::IpcMapping>(own);
    detail::IpcLink& link = *state_->link;
    return std::make_unique<detail::IpcMapping>(link.planes(), link.device(), own, at);
  }

 private:
  struct State {
    State(Base b, const IpcOptions& o)
        : base(std::move(b)), options(o), lifeline(concat("IpcComm of rank ", base.rank())) {
      moved_to_meet = base.elements_moved();  // and what came before
      if (base.size() == 1) return;
      int device = 0;
      detail::cuda_check(cudaGetDevice(&device), "cudaGetDevice");
      const auto place = detail::meet_sites(base, device, options);
      moved_to_meet = base.elements_moved();
      out_of_reach = place.out_of_reach;
      if (out_of_reach.empty())
        link = std::make_unique<detail::IpcLink>(
            place.name, base.rank(), base.size(), device, place.shares_gpu, options,
            [this](std::string_view reason) { base.abort(reason); });
    }
    /// A failure of the base is one of all peers, too.
    void check(const ErrorContext& at) {
      if (link) link->check(at);
      try {
        base.check();
      } catch (const Error& error) {
        if (link) link->abort(error.detail());
        throw;
      }
    }
    Base base;
    const IpcOptions options;
    std::string out_of_reach;
    std::int64_t step = -1;
    std::uint64_t moved_to_meet = 0, moved = 0;
    bool grouping = false;
    Lifeline lifeline;
    std::unique_ptr<detail::IpcLink> link;  // before the base goes, whose abort it calls
  };
  [[nodiscard]] ErrorContext where(std::string_view operation) const {
    return {rank(), state_->step, operation};
  }

  std::unique_ptr<State> state_;
};

}  // namespace dpgather
