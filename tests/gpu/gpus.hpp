// The GPUs that are here.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>

#include <cuda_runtime_api.h>

namespace gpu {

/// 0 also where there is no driver; `why` says which.
inline int devices([[maybe_unused]] std::string* why = nullptr) {
#ifdef DPGATHER_GPU_SIMULATED
  return 4;
#else
  int number = 0;
  const cudaError_t code = cudaGetDeviceCount(&number);
  if (code != cudaSuccess) number = 0;
  if (why != nullptr) *why = code == cudaSuccess ? "there is no GPU" : cudaGetErrorString(code);
  static_cast<void>(cudaGetLastError());
  return number;
#endif
}

/// DPGATHER_GPU_SHORT: under compute-sanitizer, where each kernel takes long, and where streams that
/// wait for each other inside graphs may not run at the same time.
inline bool short_run() {
  return std::getenv("DPGATHER_GPU_SHORT") != nullptr;
}

}  // namespace gpu
