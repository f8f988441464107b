// What the rules of NCCL share: ranks with a device, a stream and a communicator each, and device
// buffers that come from and go to vectors. Runs on the simulation and on GPUs alike.
#pragma once

#include <barrier>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include "sim/rules/harness.hpp"

namespace rules {

/// A rank that does not hold what a rule says ends its test.
inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::logic_error(what);
}
template <class T>
void expect_equal(const std::vector<T>& got, const std::vector<T>& want, const std::string& what) {
  expect(got.size() == want.size(), what + ": sizes");
  for (std::size_t i = 0; i < got.size(); ++i)
    expect(got[i] == want[i], what + ": element " + std::to_string(i) + " is " +
                                  std::to_string(got[i]) + ", not " + std::to_string(want[i]));
}
inline void expect(ncclResult_t got, ncclResult_t want, const std::string& what) {
  expect(got == want, what + ": " + ncclGetErrorString(got) + ", not " + ncclGetErrorString(want) +
                          "; " + ncclGetLastError(nullptr));
}
inline void good(ncclResult_t result, const std::string& what = "NCCL") {
  expect(result, ncclSuccess, what);
}
inline void good(cudaError_t error, const std::string& what = "CUDA") {
  expect(error == cudaSuccess, what + ": " + cudaGetErrorString(error));
}

/// One NCCL type and its C++ type.
template <class T>
inline constexpr ncclDataType_t type_of = ncclNumTypes;
template <>
inline constexpr ncclDataType_t type_of<std::int8_t> = ncclInt8;
template <>
inline constexpr ncclDataType_t type_of<std::uint8_t> = ncclUint8;
template <>
inline constexpr ncclDataType_t type_of<std::int32_t> = ncclInt32;
template <>
inline constexpr ncclDataType_t type_of<std::uint32_t> = ncclUint32;
template <>
inline constexpr ncclDataType_t type_of<std::int64_t> = ncclInt64;
template <>
inline constexpr ncclDataType_t type_of<std::uint64_t> = ncclUint64;
template <>
inline constexpr ncclDataType_t type_of<float> = ncclFloat32;
template <>
inline constexpr ncclDataType_t type_of<double> = ncclFloat64;
template <>
inline constexpr ncclDataType_t type_of<__half> = ncclFloat16;
template <>
inline constexpr ncclDataType_t type_of<__nv_bfloat16> = ncclBfloat16;

/// Small whole numbers, which every type holds exactly.
template <class T>
T number(int value) {
  if constexpr (std::is_same_v<T, __half>)
    return __float2half_rn(static_cast<float>(value));
  else if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __float2bfloat16_rn(static_cast<float>(value));
  else
    return static_cast<T>(value);
}
template <class T>
double value(T element) {
  if constexpr (std::is_same_v<T, __half>)
    return static_cast<double>(__half2float(element));
  else if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return static_cast<double>(__bfloat162float(element));
  else
    return static_cast<double>(element);
}

/// Elements of the current device.
template <class T>
class Device {
 public:
  explicit Device(std::size_t size) : size_(size) {
    good(cudaMalloc(reinterpret_cast<void**>(&data_), bytes() > 0 ? bytes() : 1), "cudaMalloc");
  }
  explicit Device(const std::vector<T>& from) : Device(from.size()) {
    good(cudaMemcpy(data_, from.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  Device(std::size_t size, int element) : Device(std::vector<T>(size, number<T>(element))) {}
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { static_cast<void>(cudaFree(data_)); }

  [[nodiscard]] T* get() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t bytes() const { return size_ * sizeof(T); }
  /// What is there once `stream` is done.
  [[nodiscard]] std::vector<T> on_host(cudaStream_t stream) const {
    std::vector<T> host(size_);
    good(cudaMemcpyAsync(host.data(), data_, bytes(), cudaMemcpyDeviceToHost, stream));
    good(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return host;
  }
  [[nodiscard]] std::vector<double> values(cudaStream_t stream) const {
    std::vector<double> numbers;
    for (const T element : on_host(stream)) numbers.push_back(value(element));
    return numbers;
  }

 private:
  std::size_t size_;
  T* data_ = nullptr;
};

/// A rank with a GPU and a stream of its own; `meet` is a barrier of all ranks on the host.
struct Gpu {
  int rank = 0;
  int size = 0;
  cudaStream_t stream = nullptr;
  ncclUniqueId id = {};
  std::barrier<>* all = nullptr;

  void meet() const { all->arrive_and_wait(); }
  void wait() const { good(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }
};

/// A communicator over all ranks, destroyed at its end.
struct Comm {
  ncclComm_t comm = nullptr;

  explicit Comm(const Gpu& gpu) { good(ncclCommInitRank(&comm, gpu.size, gpu.id, gpu.rank)); }
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;
  ~Comm() { static_cast<void>(ncclCommDestroy(comm)); }
  operator ncclComm_t() const { return comm; }  // NOLINT
};

inline ncclConfig_t non_blocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}
/// Polls a non-blocking communicator until it is no longer in progress.
inline ncclResult_t settle(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) good(ncclCommGetAsyncError(comm, &state));
  return state;
}
/// A non-blocking communicator over all ranks, aborted at its end, which frees whatever is stuck.
struct NonBlocking {
  ncclComm_t comm = nullptr;

  explicit NonBlocking(const Gpu& gpu) {
    ncclConfig_t config = non_blocking();
    expect(ncclCommInitRankConfig(&comm, gpu.size, gpu.id, gpu.rank, &config), ncclInProgress,
           "ncclCommInitRankConfig");
    good(settle(comm), "the new communicator");
  }
  NonBlocking(const NonBlocking&) = delete;
  NonBlocking& operator=(const NonBlocking&) = delete;
  ~NonBlocking() { static_cast<void>(ncclCommAbort(comm)); }
  operator ncclComm_t() const { return comm; }  // NOLINT
  /// Success of a call that may have been left in progress.
  void done(ncclResult_t result) const {
    expect(result == ncclSuccess || result == ncclInProgress, ncclGetErrorString(result));
    good(settle(comm));
  }
};

/// `f(Gpu)` on `ranks` ranks with a GPU each, skipped with the reason where there are fewer. In the
/// simulation: under each kind of schedule, and several of each.
template <class F>
void on_gpus(int ranks, const F& f) {
  ncclUniqueId id;
  std::barrier<> all(ranks);
  const auto body = [&](int rank) {
    Gpu gpu{rank, ranks, nullptr, id, &all};
    good(cudaSetDevice(rank), "cudaSetDevice");
    good(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking));
    f(gpu);
    good(cudaStreamDestroy(gpu.stream));
  };
#if defined(DPGATHER_RULES_ON_GPU)
  int here = 0;
  static_cast<void>(cudaGetDeviceCount(&here));
  if (here < ranks) {
    MESSAGE("skipped: it takes " << ranks << " GPUs, and there are " << here);
    return;
  }
  good(ncclGetUniqueId(&id));
  dpgather::run_ranks(ranks, body);
#else
  for (const auto schedule : {sim::Schedule::late, sim::Schedule::random, sim::Schedule::eager})
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      good(ncclGetUniqueId(&id));
      const auto report =
          sim::run({.ranks = ranks, .devices = ranks, .seed = seed, .schedule = schedule}, body);
      for (const auto& leak : report.leaks) FAIL_CHECK("left over: ", leak);
    }
#endif
}

}  // namespace rules
