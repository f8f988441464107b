// Buffers registered with NCCL as windows, where its version has them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <utility>

#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/comm/nccl/link.hpp>

namespace dpgather::detail {

#if DPGATHER_NCCL_HAS_WINDOWS

/// Collective; true if it became a window. NCCL's symmetric kernels want the same offset in its
/// allocation on every rank: here each buffer is an allocation, so that is 0.
inline bool nccl_attach(NcclLink& link, void* data, std::size_t bytes) {
  const ErrorContext at = link.where("attach");
  auto& windows = link.handle().windows;
  require(data != nullptr && bytes > 0, at, "a buffer of ", bytes, " bytes is null or empty");
  for (const auto& other : windows)
    require(other->data != data, at, "this buffer is attached already");
  auto& window = *windows.emplace_back(std::make_unique<NcclHandle::Window>());
  window.data = data;
  try {
    link.run(at, [&](ncclComm_t comm) {
      return NcclResult{
          ncclCommWindowRegister(comm, data, bytes, &window.window, NCCL_WIN_COLL_SYMMETRIC),
          "ncclCommWindowRegister"};
    });
  } catch (...) {
    if (!link.failure) windows.pop_back();  // else NCCL may still write to it
    throw;
  }
  return window.window != nullptr;
}

inline void nccl_detach(NcclLink& link, void* data) noexcept {
  auto& windows = link.handle().windows;
  const auto found = std::find_if(windows.begin(), windows.end(),
                                  [data](const auto& window) { return window->data == data; });
  if (found == windows.end()) return;
  try {
    const ErrorContext at = link.where("detach");
    if (link.failure) return;  // its abort sees to it
    const ncclWindow_t window = (*found)->window;
    windows.erase(found);
    link.run(at, [&](ncclComm_t comm) {
      return NcclResult{ncclCommWindowDeregister(comm, window), "ncclCommWindowDeregister"};
    });
  } catch (const std::exception& error) {
    nccl::report(error.what());
  }
}

#else

inline bool nccl_attach(NcclLink& link, void* data, std::size_t bytes) {
  require(data != nullptr && bytes > 0, link.where("attach"), "a buffer of ", bytes,
          " bytes is null or empty");
  return false;
}
inline void nccl_detach(NcclLink&, void*) noexcept {}

#endif

}  // namespace dpgather::detail
