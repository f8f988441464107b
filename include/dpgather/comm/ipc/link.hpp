// One rank's part in a communicator of processes: its words on the device, and what becomes of a
// failure.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dpgather/comm/ipc/epoch_barrier.hpp>
#include <dpgather/comm/ipc/mapping.hpp>
#include <dpgather/comm/ipc/options.hpp>
#include <dpgather/comm/ipc/stream_barrier.hpp>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/own_stream.hpp>

namespace dpgather::detail {

/// Construction and destruction are collective. A failure is final. It reaches a peer three ways:
/// by the stop word on its device, which ends its barriers and its element work; from there, by a
/// word that its host reads; and by the plane.
class IpcLink {
 public:
  using Abort = std::function<void(std::string_view)>;

  /// `shares_gpu`: some ranks do.
  IpcLink(const std::string& name, int rank, int size, int device, bool shares_gpu,
          const IpcOptions& options, Abort abort_base)
      : device_(device),
        deadline_(options.deadline),
        abort_base_(std::move(abort_base)),
        planes_(name, rank, size, options.deadline),
        host_words_(host_words),
        words_(
            static_cast<std::int64_t>(BarrierWords::number(size) + StreamBarrier::number(size))) {
    planes_.fail = [this](std::string_view reason) { abort(reason); };
    PinnedMemory::zero(host_words_.data(), host_words * sizeof(std::uint32_t));
    std::vector<std::uint32_t> first(static_cast<std::size_t>(words_.size()), Flag::clear);
    std::fill_n(first.begin(), BarrierWords::number(size), options.first_epoch);
    first[BarrierWords::stop] = 0;
    if (shares_gpu)
      static_cast<void>(stream_batch_mem_op());  // found now, not in the first capture
    copy(words_.data(), first.data(), first.size());
    wait_for_copies();
    // None writes to another's words before that one has set them up: addresses come after.
    mapping_.emplace(planes_, device, words_.data(),
                     ErrorContext{.rank = rank, .operation = "IpcComm"});
    barrier_.ranks = size;
    barrier_.rank = rank;
    barrier_.seen = host_words_.data() + seen;
    std::transform(mapping_->addresses().begin(), mapping_->addresses().end(), barrier_.words,
                   [](std::int64_t at) { return reinterpret_cast<std::uint32_t*>(at); });
    if (shares_gpu) ticker_.emplace([this] { free_streams_if_failed(); });
  }
  IpcLink(const IpcLink&) = delete;
  IpcLink& operator=(const IpcLink&) = delete;

  [[nodiscard]] const EpochBarrier& barrier() const { return barrier_; }
  [[nodiscard]] std::chrono::milliseconds deadline() const { return deadline_; }
  [[nodiscard]] const std::uint32_t* stop_word() const {
    return words_.data() + BarrierWords::stop;
  }
  [[nodiscard]] IpcPlanes& planes() { return planes_; }
  /// Streams wait, not kernels: then the host has the deadline.
  [[nodiscard]] bool streams_wait() const { return ticker_.has_value(); }
  [[nodiscard]] int device() const { return device_; }
  [[nodiscard]] bool failed() const { return failed_.load(std::memory_order_acquire); }

  /// Throws, on all ranks alike, if any rank has failed and that is known here. Waits for no device
  /// unless it has.
  void check(const ErrorContext& at) {
    if (!failed()) find_failure();
    if (!failed()) return;
    const std::lock_guard lock(mutex_);
    if (why_ == StopCode::Why::late) throw TimeoutError(at, reason_);
    throw PeerError(at, concat("communicator failed: ", reason_));
  }
  /// The first reason stays. Any thread.
  void give_up() {
    const std::uint32_t code = StopCode::of(StopCode::Why::late, StopCode::unknown);
    const std::string text = late_text(code);
    set_failed(StopCode::Why::late, text, code, text);
  }
  void abort(std::string_view reason) {
    set_failed(StopCode::Why::aborted, concat("rank ", planes_.rank(), " aborted: ", reason),
               StopCode::of(StopCode::Why::aborted, planes_.rank()), reason);
  }

 private:
  // Pinned: what the barrier saw; a word on its way out; one that was read.
  static constexpr std::size_t seen = 0, sent = 1, read = 2, host_words = 3;

  void find_failure() {
    std::uint32_t code = std::atomic_ref(host_words_.data()[seen]).load();
    std::string text;
    try {
      planes_.check();
    } catch (const Error& error) {
      text = error.detail();
      constexpr std::string_view prefix = "control plane failed: ";
      if (text.starts_with(prefix)) text.erase(0, prefix.size());
      // The device knows better why, if it was a barrier.
      if (code == 0) code = read_stop();
      if (code == 0) code = StopCode::of(StopCode::Why::aborted, planes_.rank());
    }
    if (code == 0) return;
    if (StopCode::why(code) == StopCode::Why::late)
      text = late_text(code);
    else if (text.empty())
      text = concat("rank ", StopCode::rank(code), " aborted");
    set_failed(StopCode::why(code), text, code, text);
  }
  [[nodiscard]] std::string late_text(std::uint32_t code) const {
    const int rank = StopCode::rank(code);
    return concat(rank == StopCode::unknown ? "a rank" : concat("rank ", rank),
                  " did not come to a barrier within ", deadline_.count(), " ms");
  }
  /// Another thread's. The stop words are written before any wait is freed.
  void free_streams_if_failed() noexcept {
    try {
      if (!failed() && planes_.finishing_for() > deadline_) give_up();
      if (!failed()) find_failure();
      if (!failed()) return;
      const DeviceScope scope(device_);
      const int size = barrier_.ranks;
      cuda_check(
          cudaMemsetAsync(words_.data() + StreamBarrier::first(size), 0xff,
                          StreamBarrier::number(size) * sizeof(std::uint32_t), stream_.get()),
          "cudaMemsetAsync");
    } catch (const std::exception&) {  // the device is beyond help, and its streams with it
    }
  }
  void set_failed(StopCode::Why why, std::string_view reason, std::uint32_t code,
                  std::string_view for_others) {
    {
      const std::lock_guard lock(mutex_);
      if (failed()) return;
      why_ = why;
      reason_ = reason;
      planes_.failed = true;
      failed_.store(true, std::memory_order_release);
    }
    try {
      // Who hears of it by the plane looks at the stop word, which says who was late; and finds in the
      // plane why a rank aborted.
      if (why == StopCode::Why::late) write_stop(code);
      planes_.abort(for_others);
      if (why != StopCode::Why::late) write_stop(code);
      abort_base_(for_others);
    } catch (const std::exception& error) {
      destructor_error_handler()(error.what());
    }
  }
  /// Also to those that know: it does no harm.
  void write_stop(std::uint32_t code) {
    const std::lock_guard lock(copies_);
    const DeviceScope scope(device_);
    host_words_.data()[sent] = code;
    for (int r = 0; r < barrier_.ranks; ++r)
      copy(barrier_.words[r] + BarrierWords::stop, host_words_.data() + sent, 1);
    wait_for_copies();
  }
  [[nodiscard]] std::uint32_t read_stop() {
    const std::lock_guard lock(copies_);
    const DeviceScope scope(device_);
    copy(host_words_.data() + read, stop_word(), 1);
    return wait_for_copies() ? host_words_.data()[read] : 0;
  }
  void copy(void* to, const void* from, std::size_t words) const {
    cuda_check(
        cudaMemcpyAsync(to, from, words * sizeof(std::uint32_t), cudaMemcpyDefault, stream_.get()),
        "cudaMemcpyAsync");
  }
  /// Not for ever: a device may be beyond help.
  bool wait_for_copies() const {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    cudaError_t state = cudaStreamQuery(stream_.get());
    for (; cuda_pending(state); state = cudaStreamQuery(stream_.get())) {
      if (std::chrono::steady_clock::now() >= limit) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return state == cudaSuccess;
  }

  const int device_;
  const std::chrono::milliseconds deadline_;
  const Abort abort_base_;
  IpcPlanes planes_;
  OwnStream stream_;
  Buffer<std::uint32_t, PinnedMemory> host_words_;
  Buffer<std::uint32_t, DeviceMemory> words_;
  EpochBarrier barrier_ = {};
  std::mutex mutex_, copies_;
  std::atomic<bool> failed_{false};
  StopCode::Why why_ = StopCode::Why::aborted;
  std::string reason_;
  std::optional<Ticker> ticker_;       // sees to it that the device comes to an end when
  std::optional<IpcMapping> mapping_;  // this goes, first
};

}  // namespace dpgather::detail
