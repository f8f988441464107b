// CUDA streams as the library takes them: a handle that is not owned.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/capture_notes.hpp>
#include <dpgather/core/lifeline.hpp>

namespace dpgather {

/// A value made from a cudaStream_t or anything with `get()` that gives one (cuda::stream_ref). The
/// default stream is legal for eager work and cannot be captured.
class CudaStream {
 public:
  CudaStream() = default;
  CudaStream(cudaStream_t stream) : stream_(stream) {}  // NOLINT: what every CUDA call takes
  template <class S>
  requires(!std::same_as<std::remove_cvref_t<S>, CudaStream> &&
           requires(const S& stream) {
             { stream.get() } -> std::same_as<cudaStream_t>;
           }) CudaStream(const S& stream)  // NOLINT
      : stream_(stream.get()) {}

  [[nodiscard]] cudaStream_t get() const { return stream_; }
  [[nodiscard]] bool is_default() const {
    return stream_ == nullptr || stream_ == cudaStreamLegacy || stream_ == cudaStreamPerThread;
  }
  friend bool operator==(CudaStream, CudaStream) = default;

  /// Throws CudaError if the capture was broken already, or if this is the legacy default stream
  /// while another stream captures in a mode that forbids its use.
  [[nodiscard]] bool capturing() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    detail::cuda_check(cudaStreamIsCapturing(stream_, &status), "cudaStreamIsCapturing");
    if (status == cudaStreamCaptureStatusInvalidated) [[unlikely]]
      throw CudaError({}, "capture", cudaErrorStreamCaptureInvalidated);
    return status == cudaStreamCaptureStatusActive;
  }
  /// Host bookkeeping of the work around it: runs at once, and for captured work at each launch of
  /// the graph, if the capture is within a CaptureScope; else not at all.
  template <std::invocable Op>
  void on_launch(Op op) const {
    CaptureNotes* const notes = CaptureScope::current();
    if (!capturing())
      op();
    else if (notes != nullptr)
      notes->on_launch(std::move(op));
  }
  void hold(const Lifeline& lifeline) const {
    CaptureNotes* const notes = CaptureScope::current();
    if (notes != nullptr && capturing()) notes->hold(lifeline);
  }
  /// Waits on the host until the stream's work is done.
  void synchronize() const {
    detail::cuda_check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

 private:
  cudaStream_t stream_ = nullptr;
};

static_assert(std::is_trivially_copyable_v<CudaStream>);

}  // namespace dpgather
