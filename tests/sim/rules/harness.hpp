// What the rules of CUDA and NCCL need around them, so that the same files run on the simulation and
// on a real GPU (there with -DDPGATHER_RULES_ON_GPU).
#pragma once

#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#if defined(DPGATHER_RULES_ON_GPU)
#include <dpgather/comm/thread/run_ranks.hpp>
#else
#include "sim/world.hpp"
#endif

namespace rules {

/// `f(rank)` on `ranks` threads that share device 0. In the simulation: under each kind of schedule,
/// and several of each.
template <class F>
void on_ranks(int ranks, F f) {
#if defined(DPGATHER_RULES_ON_GPU)
  dpgather::run_ranks(ranks, [&](int rank) {
    cudaSetDevice(0);
    f(rank);
  });
#else
  for (const auto schedule : {sim::Schedule::late, sim::Schedule::random, sim::Schedule::eager})
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const auto report = sim::run({.ranks = ranks, .seed = seed, .schedule = schedule}, f);
      for (const auto& leak : report.leaks) FAIL_CHECK("left over: ", leak);
    }
#endif
}
template <class F>
void on_one_rank(F f) {
  on_ranks(1, [&](int) { f(); });
}

/// Throws unless the call succeeded.
inline void ok(cudaError_t error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("unexpected ") + cudaGetErrorName(error));
}
/// The result of a call that is meant to fail, with the runtime's last error cleared.
inline cudaError_t error_of(cudaError_t error) {
  static_cast<void>(cudaGetLastError());
  return error;
}

/// A stream that is not ordered with the legacy default stream, unless asked for.
class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) {
    ok(cudaStreamCreateWithFlags(&stream_, flags));
  }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }  // NOLINT
  void sync() const { ok(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { ok(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }  // NOLINT

 private:
  cudaEvent_t event_ = nullptr;
};

/// Words in device memory, all zero at first.
class Words {
 public:
  explicit Words(std::size_t number) : number_(number) {
    ok(cudaMalloc(reinterpret_cast<void**>(&words_), bytes()));
    ok(cudaMemset(words_, 0, bytes()));
    ok(cudaDeviceSynchronize());
  }
  ~Words() { cudaFree(words_); }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  [[nodiscard]] std::uint32_t* get() const { return words_; }
  [[nodiscard]] std::size_t bytes() const { return number_ * 4; }

  /// Sets every byte of it, in stream order.
  void fill(int byte, cudaStream_t stream) const {
    ok(cudaMemsetAsync(words_, byte, bytes(), stream));
  }
  void copy_to(const Words& other, cudaStream_t stream) const {
    ok(cudaMemcpyAsync(other.get(), words_, bytes(), cudaMemcpyDeviceToDevice, stream));
  }
  /// Waits for `stream` and says what every byte is, or -1 if they differ.
  [[nodiscard]] int byte(cudaStream_t stream) const {
    std::vector<unsigned char> host(bytes());
    ok(cudaMemcpyAsync(host.data(), words_, bytes(), cudaMemcpyDeviceToHost, stream));
    ok(cudaStreamSynchronize(stream));
    for (const unsigned char b : host)
      if (b != host.front()) return -1;
    return host.front();
  }

 private:
  std::size_t number_;
  std::uint32_t* words_ = nullptr;
};

/// A word that host and device both see.
class Pinned {
 public:
  explicit Pinned(std::uint32_t value) {
    ok(cudaMallocHost(reinterpret_cast<void**>(&word_), sizeof *word_));
    *word_ = value;
  }
  ~Pinned() { cudaFreeHost(word_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  [[nodiscard]] std::uint32_t* get() const { return word_; }
  [[nodiscard]] std::uint32_t load() const { return __atomic_load_n(word_, __ATOMIC_SEQ_CST); }
  void store(std::uint32_t value) const { __atomic_store_n(word_, value, __ATOMIC_SEQ_CST); }

 private:
  std::uint32_t* word_ = nullptr;
};

/// A graph and its executable, destroyed in the end.
class Graph {
 public:
  explicit Graph(cudaGraph_t graph) : graph_(graph) { ok(cudaGraphInstantiate(&exec_, graph, 0)); }
  ~Graph() {
    cudaGraphExecDestroy(exec_);
    cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  [[nodiscard]] cudaGraph_t graph() const { return graph_; }
  [[nodiscard]] cudaGraphExec_t exec() const { return exec_; }
  void launch(cudaStream_t stream) const { ok(cudaGraphLaunch(exec_, stream)); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

/// What `f()` puts on `stream`, as a graph.
template <class F>
cudaGraph_t capture(cudaStream_t stream, const F& f,
                    cudaStreamCaptureMode mode = cudaStreamCaptureModeThreadLocal) {
  ok(cudaStreamBeginCapture(stream, mode));
  f();
  cudaGraph_t graph = nullptr;
  ok(cudaStreamEndCapture(stream, &graph));
  return graph;
}

}  // namespace rules
