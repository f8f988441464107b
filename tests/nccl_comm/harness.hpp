// Ranks with a simulated GPU, a stream and an NcclComm each.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/nccl.hpp>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/own_stream.hpp>

#include "sim/nccl.hpp"
#include "sim/world.hpp"
#include "support/ranks.hpp"
#include "support/transfer_cuda.hpp"

namespace nccl_test {

using dpgather::concat;
using dpgather::CudaStream;
using dpgather::NcclComm;
using dpgather::NcclOptions;
using dpgather::OwnStream;
using test::expect;

/// Device elements that start with values from the host.
template <class T, class Memory = dpgather::DeviceMemory>
class Data {
 public:
  Data(const std::vector<T>& values, CudaStream stream)
      : buffer_(static_cast<std::int64_t>(values.size())), stream_(stream) {
    test::upload(std::span<const T>(values), buffer_.data(), stream);
  }
  Data(std::int64_t count, T value, CudaStream stream)
      : Data(std::vector<T>(static_cast<std::size_t>(count), value), stream) {}
  [[nodiscard]] T* get() const { return buffer_.data(); }
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(buffer_.size()) * sizeof(T);
  }
  /// Once the stream is done; without the communicator's help.
  [[nodiscard]] std::vector<T> read() const {
    std::vector<T> values(static_cast<std::size_t>(buffer_.size()));
    test::download(static_cast<const T*>(buffer_.data()), std::span<T>(values), stream_);
    return values;
  }

 private:
  dpgather::Buffer<T, Memory> buffer_;
  CudaStream stream_;
};

/// What the destructor handler was told since this was made; outside of a run.
class Reports {
 public:
  Reports() : before_(dpgather::destructor_error_handler()) {
    texts().clear();
    dpgather::destructor_error_handler() =
        +[](const char* text) noexcept { texts().emplace_back(text); };
  }
  Reports(const Reports&) = delete;
  Reports& operator=(const Reports&) = delete;
  ~Reports() { dpgather::destructor_error_handler() = before_; }
  [[nodiscard]] static std::string all() {
    std::string text;
    for (const auto& one : texts()) text += one + "\n";
    return text;
  }

 private:
  static std::vector<std::string>& texts() {
    static std::vector<std::string> all;
    return all;
  }
  dpgather::DestructorErrorHandler before_;
};

/// Runs `f`, which must throw an E whose text has all `parts`; anything else throws in turn.
template <class E, class F>
std::string throws(const F& f, std::initializer_list<std::string_view> parts) {
  try {
    f();
  } catch (const E& error) {
    const std::string text = error.what();
    for (const auto part : parts)
      expect(text.find(part) != std::string::npos, "\"", text, "\" does not say \"", part, "\"");
    return text;
  }
  throw std::logic_error("no error came");
}

/// What `f()` puts on `stream`, as a graph with the library's notes of it.
class Captured {
 public:
  template <class F>
  Captured(CudaStream stream, const F& f) : stream_(stream) {
    const dpgather::CaptureScope scope(notes_);
    dpgather::detail::cuda_check(
        cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
    try {
      f();
      dpgather::detail::cuda_check(cudaStreamEndCapture(stream.get(), &graph_),
                                   "cudaStreamEndCapture");
      dpgather::detail::cuda_check(cudaGraphInstantiate(&exec_, graph_, 0), "cudaGraphInstantiate");
    } catch (...) {
      if (graph_ == nullptr) static_cast<void>(cudaStreamEndCapture(stream.get(), &graph_));
      destroy();
      throw;
    }
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() { destroy(); }
  void launch() const {
    notes_.check({.operation = "launch"});
    dpgather::detail::cuda_check(cudaGraphLaunch(exec_, stream_.get()), "cudaGraphLaunch");
    notes_.launched();
  }

 private:
  void destroy() const {
    if (exec_ != nullptr)
      dpgather::detail::cuda_report(cudaGraphExecDestroy(exec_), "cudaGraphExecDestroy");
    if (graph_ != nullptr)
      dpgather::detail::cuda_report(cudaGraphDestroy(graph_), "cudaGraphDestroy");
  }
  CudaStream stream_;
  dpgather::CaptureNotes notes_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

/// `f(rank)` on `size` ranks with a GPU each. The run must leave nothing.
template <class F>
sim::Report on_gpus(int size, const F& f, sim::Options options = {}) {
  options.ranks = size;
  options.devices = size;
  const sim::Report report = sim::run(options, [&](int rank) {
    dpgather::detail::cuda_check(cudaSetDevice(rank), "cudaSetDevice");
    f(rank);
  });
  for (const auto& leak : report.leaks)
    if (leak.find("a window of") != 0) FAIL_CHECK(leak);  // an abort takes windows along
  return report;
}

/// Deadlines that the clock of the simulation reaches soon.
inline NcclOptions options_for_tests() {
  return {.deadline = std::chrono::milliseconds(300)};
}

/// As above, with `f(comm, stream)`.
template <class Comm = NcclComm<>, class F>
sim::Report on_comms(int size, const F& f, sim::Options options = {},
                     NcclOptions nccl = options_for_tests()) {
  const auto id = dpgather::NcclUniqueId::create();
  return on_gpus(
      size,
      [&](int rank) {
        const OwnStream stream;
        Comm comm(id, rank, size, nccl);
        f(comm, CudaStream(stream));
      },
      options);
}

/// `check` for each schedule and some seeds.
template <class F>
void on_schedules(const F& check) {
  for (const auto schedule : {sim::Schedule::late, sim::Schedule::random, sim::Schedule::eager})
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      INFO("schedule ", static_cast<int>(schedule), ", seed ", seed);
      check(sim::Options{.seed = seed, .schedule = schedule});
    }
}

}  // namespace nccl_test
