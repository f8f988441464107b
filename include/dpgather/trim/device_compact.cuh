// Compaction of per-request slots whose counts are in device memory; a graph can hold it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <cub/device/device_scan.cuh>
#include <thrust/iterator/transform_iterator.h>

#include <dpgather/core/cuda/launch.cuh>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/trim/compact_rows.hpp>

namespace dpgather {

/// Owns what a scan over up to `max_requests` counts needs, at fixed addresses. One scan and one
/// pass over `out` a call, no allocation, no synchronisation. One call at a time in stream order.
template <class Count = std::int32_t>
class DeviceCompact {
 public:
  explicit DeviceCompact(std::int64_t max_requests)
      : max_requests_((require(max_requests >= 1, where, "max_requests is ", max_requests,
                               ", must be at least 1"),
                       max_requests)),
        starts_(max_requests + 1),
        error_(1) {
    DeviceMemory::zero(starts_.data(), sizeof(std::int64_t));
    *error_.data() = 0;
    std::size_t bytes = 0;
    detail::cuda_check(scan(nullptr, bytes, nullptr, max_requests, 1, {}), "DeviceScan", where);
    scratch_ = Buffer<std::byte, DeviceMemory>(static_cast<std::int64_t>(bytes));
  }

  /// `valid` `[requests]` in device memory, each 0 to width: how many of a request's `width` slot
  /// rows, `slots` `[requests * width, H]`, are valid. They become the first rows of `out`, in order; the
  /// rest of `out` becomes zero. `out` may not overlap `slots`; valid rows beyond `out` are left
  /// out.
  template <class T>
  void operator()(const Count* valid, std::int64_t requests, std::int64_t width, Rows<T> slots,
                  Rows<std::remove_const_t<T>> out, CudaStream stream) {
    using U = std::remove_const_t<T>;
    require(requests >= 0 && requests <= max_requests_, where, requests, " requests, must be 0 to ",
            max_requests_);
    require(width >= 1 && slots.rows() >= requests * width, where, "slots have ", slots.rows(),
            " rows, ", requests, " requests of ", width, " need ", requests * width);
    require(out.width() == slots.width(), where, "out has rows of ", out.width(),
            " elements, slots of ", slots.width());
    std::size_t bytes = static_cast<std::size_t>(scratch_.size());
    if (requests > 0)
      detail::cuda_check(scan(scratch_.data(), bytes, valid, requests, width, stream), "DeviceScan",
                         where);
    launch(stream, "compact_rows", out.rows(),
           detail::CompactRow<U>{starts_.data(), requests, width, slots, out});
  }

  /// Where each request's rows start in `out`, `[requests + 1]` in device memory; the last is their
  /// number.
  [[nodiscard]] const std::int64_t* starts() const { return starts_.data(); }
  /// Throws InvalidArgument if a count was outside 0 to width since the last call; call it where the
  /// stream is synchronised anyway.
  void status() {
    const std::int64_t wrong = std::exchange(*error_.data(), 0);
    require(wrong == 0, where, "a request has ", wrong, " valid rows, outside 0 to the width");
  }

 private:
  static constexpr ErrorContext where{.operation = "DeviceCompact"};

  cudaError_t scan(void* scratch, std::size_t& bytes, const Count* valid, std::int64_t requests,
                   std::int64_t width, CudaStream stream) {
    const auto counts =
        thrust::make_transform_iterator(valid, detail::ClampCount<Count>{width, error_.data()});
    return cub::DeviceScan::InclusiveSum(scratch, bytes, counts, starts_.data() + 1, requests,
                                         stream.get());
  }

  std::int64_t max_requests_;
  Buffer<std::int64_t, DeviceMemory> starts_;
  Buffer<std::int64_t, PinnedMemory> error_;
  Buffer<std::byte, DeviceMemory> scratch_;
};

}  // namespace dpgather
