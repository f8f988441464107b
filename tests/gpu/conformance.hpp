// The worlds of the conformance suite on real GPUs.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/cuda.cuh>

#include "conformance/device_worlds.hpp"
#include "conformance/thread_world.hpp"
#include "gpu/gpus.hpp"

namespace conformance {

struct GpuHarness {
  static constexpr bool simulated = false;
  static constexpr std::chrono::milliseconds soon = std::chrono::seconds(15);
  /// NCCL wants a GPU a rank.
  static std::vector<int> nccl_sizes() {
    std::vector<int> sizes;
    for (const int size : {1, 2, 4, 8})
      if (size <= gpu::devices()) sizes.push_back(size);
    return sizes;
  }
  static std::vector<int> thread_sizes() { return {1, 2, 3, 8}; }

  template <class Make, class Body>
  static std::string run(int size, bool one_each, const Make& make, const Body& body) {
    dpgather::launch_blocks() = 16;  // many ranks share a GPU, and strides are taken
    const int devices = one_each ? size : std::min(size, gpu::devices());
    const auto made = make();
    return run_threads(size, [&](const Rank& rank) {
      dpgather::detail::cuda_check(cudaSetDevice(rank.rank % devices), "cudaSetDevice");
      body(rank, made);
    });
  }
};

}  // namespace conformance

namespace conformance {
using ThreadDeviceGpu = ThreadDeviceWorld<GpuHarness, dpgather::CheckLevel::communicating>;
using NcclGpu = NcclWorld<GpuHarness, dpgather::CheckLevel::communicating>;
}  // namespace conformance
TYPE_TO_STRING(conformance::ThreadDeviceGpu);
TYPE_TO_STRING(conformance::NcclGpu);
#define CONFORMANCE_WORLDS conformance::ThreadDeviceGpu, conformance::NcclGpu

// Tests leave early where a world does not do what they are about.
#pragma nv_diag_suppress 128
