// A word that tells element work not to begin: the memory it would touch may be gone.
#pragma once

#include <cstdint>

#include <dpgather/core/config.hpp>

namespace dpgather::detail {

/// Null: never.
DPGATHER_HD inline bool stopped(const std::uint32_t* word) {
  if (word == nullptr) return false;
#if defined(__CUDA_ARCH__)
  return *static_cast<const volatile std::uint32_t*>(word) != 0;
#else
  return __atomic_load_n(word, __ATOMIC_RELAXED) != 0;
#endif
}

}  // namespace dpgather::detail
