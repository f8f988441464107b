// A communicator of NCCL itself, how to wait for it, and how to be rid of it without waiting.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/comm/wait.hpp>

namespace dpgather::detail {

/// What NCCL writes to, also after the call that was given the address has returned: shared with
/// whoever still waits for NCCL.
struct NcclHandle {
  ncclComm_t comm = nullptr;
  std::shared_ptr<NcclHandle> child;  // of a split under way
#if DPGATHER_NCCL_HAS_WINDOWS
  struct Window {
    void* data = nullptr;
    ncclWindow_t window = nullptr;
  };
  std::vector<std::unique_ptr<Window>> windows;
#endif
  std::atomic<std::uint32_t> ended{0};  // NCCL has let go of it
};

/// What a batch of NCCL calls came to, and which of them decided it.
struct NcclResult {
  ncclResult_t code = ncclSuccess;
  std::string_view call;
};

/// How a communicator is, as NCCL sees it.
[[nodiscard]] inline ncclResult_t nccl_poll(const NcclHandle& handle) {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t code = ncclCommGetAsyncError(handle.comm, &state);
  return code == ncclSuccess ? state : code;
}

/// Between two looks at something: yields at first, then naps that grow to 2 ms.
class NcclPause {
 public:
  void operator()() {
    if (turns_ < 64) {
      ++turns_;
      std::this_thread::yield();
      return;
    }
    std::this_thread::sleep_for(nap_);
    nap_ = std::min(nap_ + nap_ / 4, std::chrono::microseconds(2000));
  }

 private:
  int turns_ = 0;
  std::chrono::microseconds nap_{20};
};

enum class NcclEnd { destroy, abort };

/// Ends `handle` on a thread of its own, since neither call returns before every captured graph that
/// holds the communicator is gone, and on some versions before its peers on this host have ended
/// too: the caller may be who has to see to that. An abort stops the kernels at once.
inline void end_in_background(std::shared_ptr<NcclHandle> handle, NcclEnd how) noexcept {
  try {
    std::thread([handle = std::move(handle), how] {
      for (NcclHandle* const one : {handle.get(), handle->child.get()}) {
        if (one == nullptr || one->comm == nullptr) continue;
        const bool aborts = how == NcclEnd::abort;
        const ncclResult_t code = aborts ? ncclCommAbort(one->comm) : ncclCommDestroy(one->comm);
        if (code != ncclSuccess && code != ncclInProgress)
          nccl::report(nccl::error_text(code, aborts ? "ncclCommAbort" : "ncclCommDestroy"));
      }
      handle->ended.store(1);
      wake_all(handle->ended);
    }).detach();
  } catch (const std::exception& error) {
    nccl::report(error.what());
    nccl::report("no thread could be started to end an NCCL communicator: it is left alive");
  }
}

/// False past `limit`.
inline bool wait_ended(const NcclHandle& handle, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (handle.ended.load() == 0) {
    if (std::chrono::steady_clock::now() >= until) return false;
    sleep_on(handle.ended, 0, std::chrono::milliseconds(20));
  }
  return true;
}

}  // namespace dpgather::detail
