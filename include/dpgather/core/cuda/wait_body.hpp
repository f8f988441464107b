// Work that waits for other devices: posted by each row, polled until it is there.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include <dpgather/core/config.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace dpgather::detail {

/// Rows of one launch, at most 256, wait side by side. `begin(row)` comes once a row; then
/// `done(row)` is asked until it says so, or until the launch's limit has passed; when all rows have
/// come so far, `end(expired)` is called once. A plain struct with DPGATHER_HD members, so that what
/// a simulation runs is what a device runs. `launch_wait(stream, name, rows, limit, body)` is in
/// core/cuda/launch_wait.cuh.
template <class B>
concept WaitBody = std::is_trivially_copyable_v<B> &&
    requires(const B& body, int row, bool expired) {
  body.begin(row);
  { body.done(row) } -> std::same_as<bool>;
  body.end(expired);
};

/// What the caller wrote or saw before, whoever wrote it, is seen by all devices and hosts that see
/// this store by `load_acquire_system`.
DPGATHER_HD inline void store_release_system(std::uint32_t* word, std::uint32_t value) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
#else
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
#endif
}
DPGATHER_HD inline std::uint32_t load_acquire_system(const std::uint32_t* word) {
#if defined(__CUDA_ARCH__)
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
#else
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
#endif
}

}  // namespace dpgather::detail
