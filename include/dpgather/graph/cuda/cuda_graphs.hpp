// Graph backend of a GPU: CUDA graphs captured from a stream.
#pragma once

#include <concepts>
#include <cstddef>
#include <utility>

#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/cuda/capture_notes.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/graph/backend.hpp>

namespace dpgather {

/// An executable graph and what the library noted while it was captured. Move-only.
class CudaGraph {
 public:
  CudaGraph() = default;
  CudaGraph(CudaGraph&& other) noexcept
      : exec_(std::exchange(other.exec_, nullptr)),
        notes_(std::move(other.notes_)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  CudaGraph& operator=(CudaGraph&& other) noexcept {
    std::swap(exec_, other.exec_);
    std::swap(notes_, other.notes_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  /// One that runs is freed by CUDA when it has completed.
  ~CudaGraph() {
    if (exec_ != nullptr) detail::cuda_report(cudaGraphExecDestroy(exec_), "cudaGraphExecDestroy");
  }

  [[nodiscard]] cudaGraphExec_t get() const { return exec_; }
  [[nodiscard]] const CaptureNotes& notes() const { return notes_; }
  /// Device memory that was taken from free memory when it was instantiated, and since `prepare` when
  /// it was uploaded, as cudaMemGetInfo showed it: other work of the process at the same time is in
  /// it too, and what fits into memory that the driver has in hand is not.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  friend struct CudaGraphs;
  cudaGraphExec_t exec_ = nullptr;
  CaptureNotes notes_;
  std::size_t bytes_ = 0;
};

struct CudaGraphs {
  using stream_type = CudaStream;
  using graph_type = CudaGraph;
  static constexpr bool warms_up = true;

  /// Thread-local capture: other threads of the process may go on allocating. Work that `body`
  /// forks to other streams by events must join again. If `body` throws, or did what a capture
  /// forbids, the capture is ended, its remains are dropped, the stream is usable, and the
  /// exception passes (of a forbidden call: CudaError).
  template <std::invocable<CudaStream> Body>
  [[nodiscard]] static CudaGraph capture(CudaStream stream, Body&& body) {
    const ErrorContext where{.operation = "capture"};
    require<GraphError>(
        !stream.is_default(), where,
        "CUDA cannot capture the default stream: give the step a stream of its own");
    require<GraphError>(!stream.capturing(), where, "the stream is capturing already");
    CudaGraph result;
    detail::cuda_check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
                       "cudaStreamBeginCapture", where);
    try {
      const CaptureScope scope(result.notes_);
      body(stream);
    } catch (...) {
      cudaGraph_t remains = nullptr;
      static_cast<void>(cudaStreamEndCapture(stream.get(), &remains));
      if (remains != nullptr) static_cast<void>(cudaGraphDestroy(remains));
      static_cast<void>(cudaGetLastError());
      throw;
    }
    cudaGraph_t graph = nullptr;
    detail::cuda_check(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture", where);
    const std::size_t before = free_bytes();
    const cudaError_t code = cudaGraphInstantiate(&result.exec_, graph, 0);
    static_cast<void>(cudaGraphDestroy(graph));
    if (code != cudaSuccess) result.exec_ = nullptr;
    detail::cuda_check(code, "cudaGraphInstantiate", where);
    result.bytes_ = taken_since(before);
    return result;
  }
  static void prepare(CudaGraph& graph, CudaStream stream) {
    const std::size_t before = free_bytes();
    detail::cuda_check(cudaGraphUpload(graph.exec_, stream.get()), "cudaGraphUpload");
    graph.bytes_ += taken_since(before);
  }
  /// In stream order; CUDA runs one execution of a graph at a time. GraphError if something that it
  /// holds is gone or began another step than `where` says.
  static void launch(const CudaGraph& graph, CudaStream stream, const ErrorContext& where) {
    graph.notes_.check(where);
    detail::cuda_check(cudaGraphLaunch(graph.exec_, stream.get()), "cudaGraphLaunch", where);
    graph.notes_.launched();
  }
  [[nodiscard]] static std::size_t bytes(const CudaGraph& graph) { return graph.bytes(); }

 private:
  /// For statistics and budgets: 0 if CUDA does not say.
  [[nodiscard]] static std::size_t free_bytes() {
    std::size_t free = 0;
    std::size_t total = 0;
    if (cudaMemGetInfo(&free, &total) == cudaSuccess) return free;
    static_cast<void>(cudaGetLastError());
    return 0;
  }
  [[nodiscard]] static std::size_t taken_since(std::size_t before) {
    const std::size_t now = free_bytes();
    return now != 0 && now < before ? before - now : 0;
  }
};

static_assert(GraphBackend<CudaGraphs>);

}  // namespace dpgather
