// Small worlds with a communicator each, for what the simulation of NCCL alone decides.
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include "sim/nccl.hpp"
#include "sim/world.hpp"

namespace self {

inline void good(ncclResult_t result) {
  if (result != ncclSuccess)
    throw std::logic_error(std::string(ncclGetErrorString(result)) + ": " +
                           ncclGetLastError(nullptr));
}
inline void good(cudaError_t error) {
  if (error != cudaSuccess) throw std::logic_error(cudaGetErrorName(error));
}
inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::logic_error(what);
}

/// A rank with a device, a stream, 64 floats (all 1) and a communicator, if not told otherwise.
struct World {
  int rank = 0;
  int size = 0;
  cudaStream_t stream = nullptr;
  float* data = nullptr;
  ncclComm_t comm = nullptr;

  static constexpr std::size_t floats = 64;

  ncclResult_t reduce(std::size_t count = floats) const {
    return ncclAllReduce(data, data, count, ncclFloat, ncclSum, comm, stream);
  }
  [[nodiscard]] std::vector<float> host() const {
    std::vector<float> all(floats);
    good(cudaMemcpyAsync(all.data(), data, floats * sizeof(float), cudaMemcpyDeviceToHost, stream));
    good(cudaStreamSynchronize(stream));
    return all;
  }
  /// What the body leaves to it; not reached by ranks that throw.
  void close() {
    if (comm != nullptr) good(ncclCommDestroy(std::exchange(comm, nullptr)));
    good(cudaFree(data));
    good(cudaStreamDestroy(stream));
  }
};

inline sim::Options of(int ranks, std::uint64_t seed = 1) {
  sim::Options options;
  options.ranks = ranks;
  options.devices = ranks;
  options.seed = seed;
  return options;
}

enum class With { blocking, non_blocking, nothing };

/// A non-blocking communicator's state once it is no longer in progress.
inline ncclResult_t settle(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) good(ncclCommGetAsyncError(comm, &state));
  return state;
}

inline World open(int rank, int ranks, const ncclUniqueId& id, With with) {
  World world;
  world.rank = rank;
  world.size = ranks;
  good(cudaSetDevice(rank));
  good(cudaStreamCreateWithFlags(&world.stream, cudaStreamNonBlocking));
  good(cudaMalloc(reinterpret_cast<void**>(&world.data), World::floats * sizeof(float)));
  const std::vector<float> ones(World::floats, 1.0f);
  good(cudaMemcpy(world.data, ones.data(), World::floats * sizeof(float), cudaMemcpyHostToDevice));
  if (with == With::blocking) good(ncclCommInitRank(&world.comm, ranks, id, rank));
  if (with == With::non_blocking) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    expect(ncclCommInitRankConfig(&world.comm, ranks, id, rank, &config) == ncclInProgress, "init");
    good(settle(world.comm));
  }
  return world;
}

inline sim::Report run(const sim::Options& options, With with,
                       const std::function<void(World&)>& body) {
  ncclUniqueId id;
  good(ncclGetUniqueId(&id));
  return sim::run(options, [&](int rank) {
    World world = open(rank, options.ranks, id, with);
    body(world);
    world.close();
  });
}

/// The text of the deadlock that the run must end in.
inline std::string deadlock_of(const sim::Options& options, With with,
                               const std::function<void(World&)>& body) {
  try {
    run(options, with, body);
  } catch (const sim::Deadlock& deadlock) {
    return deadlock.what();
  }
  FAIL("there was no deadlock");
  return {};
}

/// The text of the violations that the run must end in.
inline std::string violation_of(const sim::Options& options, With with,
                                const std::function<void(World&)>& body) {
  try {
    run(options, with, body);
  } catch (const sim::Violation& violation) {
    return violation.what();
  }
  FAIL("there was no violation");
  return {};
}

inline void check_contains(const std::string& text, std::initializer_list<const char*> parts) {
  INFO(text);
  for (const char* const part : parts) {
    INFO("looked for: ", std::string(part));
    CHECK(text.find(part) != std::string::npos);
  }
}

}  // namespace self
