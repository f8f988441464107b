// A buffer of every rank, mapped by all of them through CUDA IPC.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dpgather/comm/ipc/planes.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace dpgather::detail {

/// Where the allocation that holds `data` begins, by the driver's call, which is found at run time.
[[nodiscard]] inline void* allocation_of(const void* data) {
  using Call = decltype(&cuMemGetAddressRange);
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  cuda_check(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &found, 12000,
                                              cudaEnableDefault, &result),
             "cudaGetDriverEntryPointByVersion(cuMemGetAddressRange)");
#else
  cuda_check(cudaGetDriverEntryPoint("cuMemGetAddressRange", &found, cudaEnableDefault, &result),
             "cudaGetDriverEntryPoint(cuMemGetAddressRange)");
#endif
  require(result == cudaDriverEntryPointSuccess && found != nullptr, {.operation = "IpcComm"},
          "the driver has no cuMemGetAddressRange");
  CUdeviceptr base = 0;
  // The runtime's codes are the driver's.
  cuda_check(static_cast<cudaError_t>(reinterpret_cast<Call>(found)(
                 &base, nullptr, reinterpret_cast<CUdeviceptr>(data))),
             "cuMemGetAddressRange");
  return reinterpret_cast<void*>(base);
}

/// Construction and destruction are collective, in the same order on all ranks. Buffers are
/// cudaMalloc's, or any part of one; a null pointer stays null. All ranks throw if one cannot.
/// Destruction waits for this device's work and then until all ranks have closed, so that buffers
/// may be freed after it.
class IpcMapping {
 public:
  /// Of a single rank.
  explicit IpcMapping(const void* own) : addresses_{reinterpret_cast<std::intptr_t>(own)} {}

  IpcMapping(IpcPlanes& planes, int device, const void* own, const ErrorContext& at)
      : planes_(&planes), device_(device), addresses_(static_cast<std::size_t>(planes.size())) {
    const DeviceScope scope(device);
    const auto offers = agree([&](Offer& mine) { export_to(mine, own); }, at);
    try {
      agree([&, this](Offer&) { open(offers, own); }, at);
    } catch (...) {
      close();
      throw;
    }
  }
  IpcMapping(const IpcMapping&) = delete;
  IpcMapping& operator=(const IpcMapping&) = delete;
  ~IpcMapping() {
    if (planes_ == nullptr) return;
    try {
      if (std::uncaught_exceptions() > exceptions_) planes_->fail("it ended with an exception");
      const DeviceScope scope(device_);
      planes_->finishing([] { cuda_report(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); });
      close();
    } catch (const std::exception& error) {
      destructor_error_handler()(error.what());
    }
  }

  /// [ranks], good on this rank's device; its own is the buffer's own.
  [[nodiscard]] std::span<const std::int64_t> addresses() const { return addresses_; }

 private:
  struct Offer {
    cudaIpcMemHandle_t handle = {};
    std::uint64_t offset = 0;
    std::int32_t null = 0;
    std::array<char, 200> error = {};
  };

  /// What all ranks offer after `f(mine)`; if that failed on one, all throw the same.
  template <class F>
  std::vector<Offer> agree(const F& f, const ErrorContext& at) {
    Offer mine;
    try {
      f(mine);
    } catch (const std::exception& error) {
      std::string_view(error.what()).copy(mine.error.data(), mine.error.size() - 1);
    }
    std::vector<Offer> all = planes_->exchange(mine);
    std::string text;
    for (std::size_t r = 0; r < all.size(); ++r)
      if (all[r].error[0] != '\0')
        text += concat(text.empty() ? "" : "; ", "rank ", r, ": ",
                       std::string_view(all[r].error.data()));
    require(text.empty(), at, text);
    return all;
  }
  static void export_to(Offer& mine, const void* own) {
    mine.null = own == nullptr ? 1 : 0;
    if (own == nullptr) return;
    void* const base = allocation_of(own);
    cuda_check(cudaIpcGetMemHandle(&mine.handle, base),
               "cudaIpcGetMemHandle, which takes memory of cudaMalloc alone,");
    mine.offset =
        static_cast<std::uint64_t>(static_cast<const char*>(own) - static_cast<const char*>(base));
  }
  void open(const std::vector<Offer>& offers, const void* own) {
    for (std::size_t r = 0; r < offers.size(); ++r) {
      if (r == static_cast<std::size_t>(planes_->rank())) {
        addresses_[r] = reinterpret_cast<std::intptr_t>(own);
      } else if (offers[r].null == 0) {
        void* base = nullptr;
        cuda_check(
            cudaIpcOpenMemHandle(&base, offers[r].handle, cudaIpcMemLazyEnablePeerAccess),
            concat("cudaIpcOpenMemHandle of rank ", r, "'s memory (each rank is a process)"));
        opened_.push_back(base);
        addresses_[r] =
            reinterpret_cast<std::intptr_t>(static_cast<char*>(base) + offers[r].offset);
      }
    }
  }
  void close() noexcept {
    for (void* const base : opened_)
      cuda_report(cudaIpcCloseMemHandle(base), "cudaIpcCloseMemHandle");
    opened_.clear();
    planes_->closed();
  }

  IpcPlanes* planes_ = nullptr;
  int device_ = 0;
  int exceptions_ = std::uncaught_exceptions();
  std::vector<std::int64_t> addresses_;
  std::vector<void*> opened_;
};

}  // namespace dpgather::detail
