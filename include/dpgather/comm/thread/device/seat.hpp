// What a rank on device memory shows its peers.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/comm/thread/device/flag_pool.hpp>
#include <dpgather/comm/thread/hub.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace dpgather::detail {

/// An event that orders streams and measures nothing.
class OrderEvent {
 public:
  OrderEvent() {
    cuda_check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming),
               "cudaEventCreateWithFlags");
  }
  OrderEvent(const OrderEvent&) = delete;
  OrderEvent& operator=(const OrderEvent&) = delete;
  ~OrderEvent() { cuda_report(cudaEventDestroy(event_), "cudaEventDestroy"); }
  void record(CudaStream stream) const {
    cuda_check(cudaEventRecord(event_, stream.get()), "cudaEventRecord");
  }
  void order(CudaStream stream) const {
    cuda_check(cudaStreamWaitEvent(stream.get(), event_, 0), "cudaStreamWaitEvent");
  }
  [[nodiscard]] bool pending() const { return cuda_pending(cudaEventQuery(event_)); }

 private:
  cudaEvent_t event_ = nullptr;
};

enum class CallMode : std::uint8_t { eager, captured };

/// Written by its rank, read by all. A field is written only where the rendezvous before and after
/// keep every reader away: the first group before a call's first rendezvous, the second between its
/// first and its last. Peers share it, so that a rank that failed may go while they still read.
struct DeviceSeat {
  // One set serves all calls. `ready` is waited for between the first rendezvous of a call and its
  // last, and recorded again after that; `reduced` and `done` are waited for before the first
  // rendezvous of the next call, and recorded again after that. So no peer that has yet to wait can
  // meet the next record.
  OrderEvent ready, reduced, done;
  int device = 0;
  std::shared_ptr<FlagPool> pool;  // rank 0's serves all

  CallMode mode = CallMode::eager;
  std::uint64_t capture_and_stream = 0;
  std::string refused;  // why this rank cannot make the call that it has come to
  std::vector<std::int64_t> numbers;

  std::atomic<bool> failed{false};
  std::string failure;
  int lane = -1;  // rank 0's choice

  // Written any time.
  std::atomic<std::uint64_t> eager_calls{0}, captured_calls{0};  // that this rank has come to
  std::atomic<bool> abandoned{false};  // a capture; until the next eager call
  std::atomic<bool> left{false};

  /// The counts and offsets of `calls`, kept here: the caller's may go when this rank fails.
  void keep_numbers(std::vector<ThreadCall>& calls) {
    std::size_t size = 0;
    for (const ThreadCall& call : calls) size += call.counts.size() + call.offsets.size();
    numbers.clear();
    numbers.reserve(size);
    const auto keep = [&](Counts& from) {
      const std::size_t at = numbers.size();
      numbers.insert(numbers.end(), from.begin(), from.end());
      from = {numbers.data() + at, from.size()};
    };
    for (ThreadCall& call : calls) keep(call.counts), keep(call.offsets);
  }
};

}  // namespace dpgather::detail
