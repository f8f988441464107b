// One rank's hold on an NCCL communicator: every call checked, no wait without a way out.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/comm/nccl/family.hpp>
#include <dpgather/comm/nccl/handle.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/lifeline.hpp>

namespace dpgather::detail {

/// Stays at one address. A mutex keeps threads out of NCCL while another aborts; a failure is
/// flagged before that mutex is taken, so that whoever waits inside finds out and leaves.
class NcclLink final : public NcclMember {
 public:
  NcclLink(int at, int ranks, std::shared_ptr<NcclFamily> kin,
           std::shared_ptr<NcclHandle> of = std::make_shared<NcclHandle>())
      : rank(at),
        size(ranks),
        family_(std::move(kin)),
        handle_(std::move(of)),
        lifeline_(concat("NcclComm of rank ", at)) {
    family_->add(*this);
  }
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;
  ~NcclLink() {
    family_->remove(*this);
    try {
      if (std::uncaught_exceptions() > exceptions_)
        fail(concat("rank ", rank, " ended with an exception"));
      leaving_ = true;
      failure ? tell_of_unended() : leave();
    } catch (const std::exception& error) {
      nccl::report(error.what());
    }
  }

  [[nodiscard]] ErrorContext where(std::string_view operation) const {
    return {rank, step.load(std::memory_order_relaxed), operation};
  }
  [[nodiscard]] const NcclOptions& options() const { return family_->options(); }
  [[nodiscard]] const std::shared_ptr<NcclFamily>& family() const { return family_; }
  [[nodiscard]] NcclHandle& handle() { return *handle_; }
  [[nodiscard]] const Lifeline& lifeline() const { return lifeline_; }

  /// Runs `calls(comm) -> NcclResult` and waits until NCCL is through with them; `child`: with what
  /// they do on that one. An invalid argument that NCCL refused at once leaves the communicator as
  /// it was; any other error aborts it.
  template <class Calls>
  void run(const ErrorContext& at, const Calls& calls, const NcclHandle* child = nullptr) {
    std::unique_lock lock(mutex_);
    failure.check(at);
    NcclResult result = calls(handle_->comm);
    const NcclHandle& polled = child != nullptr ? *child : *handle_;
    const auto limit = now() + options().deadline;
    // "Success" may be of the call alone, with NCCL still at it.
    if (result.code == ncclSuccess && !options().blocking) result.code = nccl_poll(polled);
    for (NcclPause pause; result.code == ncclInProgress; result.code = nccl_poll(polled)) {
      failure.check(at);
      if (now() >= limit) {
        lock.unlock();
        give_up(concat(result.call, " did not finish within ", options().deadline.count(), " ms"),
                at);
      }
      pause();
    }
    if (result.code == ncclSuccess) return;
    const NcclError error(at, nccl::error_text(result.code, result.call, handle_->comm),
                          result.code);
    const bool harmless = result.code == ncclInvalidArgument && nccl_poll(*handle_) == ncclSuccess;
    lock.unlock();
    if (!harmless) fail_all(error);
    throw error;
  }

  /// Asks NCCL as well; an error that it found by itself is thrown as NcclError.
  void check(const ErrorContext& at) {
    std::unique_lock lock(mutex_);
    failure.check(at);
    const ncclResult_t code = nccl_poll(*handle_);
    lock.unlock();
    if (code == ncclSuccess || code == ncclInProgress) return;
    const NcclError error(at, nccl::error_text(code, "a call before this one"), code);
    fail_all(error);
    throw error;
  }

  /// Waits for `stream` until it is done, an error is known, `also()` throws, or the deadline has
  /// passed.
  template <class Also>
  void synchronize(CudaStream stream, const ErrorContext& at, const Also& also) {
    const auto limit = now() + options().deadline;
    for (NcclPause pause;; pause()) {
      const cudaError_t state = cudaStreamQuery(stream.get());
      if (!cuda_pending(state) && state != cudaSuccess) {
        const CudaError error(at, "cudaStreamQuery", state);
        fail_all(error);
        throw error;
      }
      check(at);
      if (state == cudaSuccess) return;
      also();
      if (now() >= limit)
        give_up(concat("the stream did not finish within ", options().deadline.count(), " ms"), at);
    }
  }

  /// The first reason stays. When it returns the communicator has failed and its kernels are being
  /// stopped.
  void fail(std::string_view reason) {
    failure.set(reason);
    end();
  }
  void end() override {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(aborted_, true)) return;
      end_in_background(handle_, NcclEnd::abort);
    }
    if (lifeline_.holders() == 0) wait_ended(*handle_, patience());
  }

  [[nodiscard]] std::string overdue() override {
    if (failure) return {};
    const char* const what = guarded.overdue(options().deadline);
    if (what != nullptr)
      return concat("rank ", rank, ": \"", what, "\" did not finish within ",
                    options().deadline.count(), " ms");
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || failure) return {};
    const ncclResult_t code = nccl_poll(*handle_);
    if (code == ncclSuccess || code == ncclInProgress) return {};
    return concat("rank ", rank, ": ", nccl::error_text(code, "a call"));
  }

  const int rank;
  const int size;
  std::atomic<std::int64_t> step{-1};
  std::uint64_t moved = 0;
  NcclGuarded guarded;

 private:
  static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }
  /// How long to wait for an abort: it stops kernels at once, the rest is of no use to anyone.
  [[nodiscard]] std::chrono::milliseconds patience() const {
    return std::min<std::chrono::milliseconds>(options().deadline, std::chrono::seconds(5));
  }
  void fail_all(const Error& error) {
    if (!leaving_) family_->fail(error.what());
    fail(error.what());
  }
  [[noreturn]] void give_up(const std::string& reason, const ErrorContext& at) {
    const TimeoutError error(at, reason);
    fail_all(error);
    throw error;
  }

  void leave() {
    if (handle_->comm == nullptr) return;
    if (lifeline_.holders() > 0) {
      nccl::report(concat(lifeline_.hold()->name,
                          ": its NCCL communicator is left alive on purpose, as NCCL would wait "
                          "for ever for graphs that hold it"));
      return;
    }
    const ErrorContext at = where("destroy");
    try {
#if DPGATHER_NCCL_HAS_WINDOWS
      for (const auto& window : handle_->windows)
        run(at, [&](ncclComm_t comm) {
          return NcclResult{ncclCommWindowDeregister(comm, window->window),
                            "ncclCommWindowDeregister"};
        });
#endif
      run(at, [](ncclComm_t comm) {
        return NcclResult{ncclCommFinalize(comm), "ncclCommFinalize"};
      });
    } catch (const Error& error) {
      fail(error.what());
      throw;
    }
    end_in_background(handle_, NcclEnd::destroy);
    tell_of_unended();
  }
  void tell_of_unended() {
    if (wait_ended(*handle_, lifeline_.holders() > 0 ? std::chrono::milliseconds(0) : patience()))
      return;
    if (lifeline_.holders() > 0)
      nccl::report(concat(lifeline_.hold()->name,
                          ": its abort ends when the graphs that hold it are destroyed"));
    else
      nccl::report(
          concat(lifeline_.hold()->name, ": NCCL did not end it within ", patience().count(),
                 " ms and is left to itself; do graphs hold it that were not captured in a "
                 "CaptureScope?"));
  }

  std::shared_ptr<NcclFamily> family_;
  std::shared_ptr<NcclHandle> handle_;
  const int exceptions_ = std::uncaught_exceptions();
  std::mutex mutex_;
  bool aborted_ = false;
  bool leaving_ = false;  // and no member of the family any more
  Lifeline lifeline_;     // the first to go
};

}  // namespace dpgather::detail
