// ThreadComm on device memory, on the simulation: ranks with a stream each, data that tells where it
// came from, graphs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/comm/thread_device.hpp>

#include "sim/launch.hpp"
#include "sim/world.hpp"

namespace thread_device {

using dpgather::concat;
using dpgather::CudaStream;
using Comm = dpgather::ThreadComm<dpgather::DeviceMemory, dpgather::CheckLevel::local>;

/// What a test finds wrong on a rank; the run ends with the first.
struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Thrown by a rank on purpose.
struct Planned : std::runtime_error {
  using std::runtime_error::runtime_error;
};
inline void expect(bool ok, std::string_view what) {
  if (!ok) throw Wrong(concat("rank ", sim::rank(), ": ", what));
}
inline void ok(cudaError_t code) {
  expect(code == cudaSuccess, cudaGetErrorName(code));
}

/// `f` throws an E whose text has all of `parts`.
template <class E, class F>
void throws(const F& f, std::initializer_list<std::string_view> parts = {}) {
  try {
    f();
  } catch (const E& error) {
    const std::string text = error.what();
    for (const auto part : parts)
      expect(text.find(part) != std::string::npos, concat("\"", text, "\" lacks \"", part, "\""));
    return;
  }
  throw Wrong(concat("rank ", sim::rank(), ": no error came"));
}

class Stream {
 public:
  Stream() { ok(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  [[nodiscard]] cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Device memory; `shift` elements behind an aligned address.
template <class T>
class Data {
 public:
  explicit Data(std::int64_t size, std::int64_t shift = 0)
      : memory_(size + shift), size_(size), shift_(shift) {}
  [[nodiscard]] T* data() const { return memory_.data() + shift_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  /// In the order of `stream`; the host's copy is kept until this goes.
  void set(std::vector<T> values, const Stream& stream) {
    sent_.push_back(std::make_unique<std::vector<T>>(std::move(values)));
    const auto& last = *sent_.back();
    if (!last.empty())
      ok(cudaMemcpyAsync(data(), last.data(), last.size() * sizeof(T), cudaMemcpyHostToDevice,
                         stream.get()));
  }
  /// The same for what will be there; look at it once the stream is done.
  [[nodiscard]] const std::vector<T>& later(const Stream& stream) {
    received_.push_back(std::make_unique<std::vector<T>>(static_cast<std::size_t>(size_)));
    auto& last = *received_.back();
    if (!last.empty())
      ok(cudaMemcpyAsync(last.data(), data(), last.size() * sizeof(T), cudaMemcpyDeviceToHost,
                         stream.get()));
    return last;
  }
  [[nodiscard]] std::vector<T> now(const Stream& stream) {
    const auto& values = later(stream);
    ok(cudaStreamSynchronize(stream.get()));
    return values;
  }

 private:
  dpgather::Buffer<T, dpgather::DeviceMemory> memory_;
  std::int64_t size_, shift_;
  std::vector<std::unique_ptr<std::vector<T>>> sent_, received_;
};

/// What `f(stream)` captures, with the notes that go with it.
class Graph {
 public:
  template <class F>
  Graph(const Stream& stream, const F& f) {
    ok(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    try {
      const dpgather::CaptureScope scope(notes_);
      f();
    } catch (...) {
      cudaGraph_t none = nullptr;
      cudaStreamEndCapture(stream.get(), &none);
      if (none != nullptr) cudaGraphDestroy(none);
      static_cast<void>(cudaGetLastError());
      throw;
    }
    cudaGraph_t graph = nullptr;
    ok(cudaStreamEndCapture(stream.get(), &graph));
    ok(cudaGraphInstantiate(&exec_, graph, 0));
    ok(cudaGraphDestroy(graph));
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { cudaGraphExecDestroy(exec_); }
  void launch(const Stream& stream) {
    notes_.check({});
    ok(cudaGraphLaunch(exec_, stream.get()));
    notes_.launched();
  }

 private:
  dpgather::CaptureNotes notes_;
  cudaGraphExec_t exec_ = nullptr;
};

struct Place {
  int rank, size;
  Stream& stream;
  std::shared_ptr<dpgather::ThreadHub> hub;
};

struct Setup {
  sim::Options world;
  std::chrono::milliseconds deadline = std::chrono::minutes(1);
  int captured_streams = 16;
};

/// Runs `f(comm, place)` on ranks that are dealt to the devices in turn. A rank that throws destroys
/// its communicator while it unwinds.
template <class F>
sim::Report on_ranks(const Setup& setup, const F& f) {
  const auto hub = std::make_shared<dpgather::ThreadHub>(setup.world.ranks, setup.deadline);
  return sim::run(setup.world, [&](int rank) {
    ok(cudaSetDevice(rank % setup.world.devices));
    Stream stream;
    Comm comm(hub, rank, {.captured_streams = setup.captured_streams});
    f(comm, Place{rank, setup.world.ranks, stream, hub});
  });
}

/// In [-8, 8], so that sums of 8 ranks are exact in every type; scaled so that a narrower type on
/// the way would lose them.
inline std::int64_t small(int rank, std::int64_t i, int salt) {
  return (rank * 5 + i * 3 + i / 17 + salt * 7) % 17 - 8;
}
template <class T>
T make(std::int64_t value) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return value * (std::int64_t{1} << 40);
  else if constexpr (std::is_same_v<T, double>)
    return static_cast<double>(value) * (1.0 + 0x1p-40);
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return static_cast<std::int32_t>(value) * (1 << 20);
  else
    return T(static_cast<float>(value));
}
template <class T>
std::vector<T> sent(int rank, std::int64_t n, int salt = 0) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(make<T>(small(rank, i, salt)));
  return values;
}
/// Elements [first, first + n) of the sum over ranks.
template <class T>
std::vector<T> summed(int ranks, std::int64_t first, std::int64_t n, int salt = 0) {
  std::vector<T> values;
  for (std::int64_t i = first; i < first + n; ++i) {
    std::int64_t sum = 0;
    for (int r = 0; r < ranks; ++r) sum += small(r, i, salt);
    values.push_back(make<T>(sum));
  }
  return values;
}
template <class T>
std::vector<T> gathered(int ranks, std::int64_t n, int salt = 0) {
  std::vector<T> values;
  for (int r = 0; r < ranks; ++r)
    for (const T value : sent<T>(r, n, salt)) values.push_back(value);
  return values;
}
template <class T>
void same(const std::vector<T>& got, const std::vector<T>& want, std::string_view what) {
  expect(got.size() == want.size(), concat(what, ": ", got.size(), " for ", want.size()));
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!(got[i] == want[i]))
      throw Wrong(concat("rank ", sim::rank(), ": ", what, ": element ", i, " of ", got.size(),
                         " is ", static_cast<double>(static_cast<float>(got[i])), ", expected ",
                         static_cast<double>(static_cast<float>(want[i]))));
}

}  // namespace thread_device
