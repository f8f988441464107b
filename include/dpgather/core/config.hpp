// Version, check level and the one macro every layer uses.
#pragma once

#include <cstdint>

#define DPGATHER_VERSION_MAJOR 0
#define DPGATHER_VERSION_MINOR 1
#define DPGATHER_VERSION_PATCH 0

// CCCL defines no __host__/__device__ without the CUDA headers, so the library has its own.
#if defined(__CUDACC__)
#define DPGATHER_HD __host__ __device__
#else
#define DPGATHER_HD
#endif

// 0 free, 1 local, 2 communicating. Set it once for the whole program.
#ifndef DPGATHER_CHECKS
#define DPGATHER_CHECKS 1
#endif

namespace dpgather {

/// What a check may cost. The level is part of a communicator's type, so that translation units
/// built at different levels do not share one definition.
enum class CheckLevel : std::uint8_t {
  free = 0,           ///< O(ranks) host arithmetic a step; always on
  local = 1,          ///< this rank's own state and pointers
  communicating = 2,  ///< "the same on all ranks": costs extra messages on some communicators
};

static_assert(DPGATHER_CHECKS >= 0 && DPGATHER_CHECKS <= 2,
              "DPGATHER_CHECKS is 0 (free), 1 (local) or 2 (communicating)");

inline constexpr std::uint32_t version =
    DPGATHER_VERSION_MAJOR * 10000u + DPGATHER_VERSION_MINOR * 100u + DPGATHER_VERSION_PATCH;

}  // namespace dpgather
