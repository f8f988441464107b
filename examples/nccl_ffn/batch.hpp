// A decode batch on the device, and how it gets there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/padded_batch.hpp>

#include "requests.hpp"

namespace nccl_ffn {

/// One token row a request.
struct Batch {
  dpgather::BatchField<std::int32_t> ids;
  dpgather::BatchField<std::int64_t> positions;

  static constexpr auto fields =
      dpgather::batch_fields(dpgather::token_field("ids", &Batch::ids),
                             dpgather::token_field("positions", &Batch::positions));
};

/// Where an engine's scheduler would leave its batch, made from host numbers.
class BatchMaker {
 public:
  explicit BatchMaker(std::int64_t most)
      : ids_(most), positions_(most), host_ids_(most), host_positions_(most) {}

  /// In stream order. Call it again once the stream has been synchronised.
  Batch make(std::span<const Request> requests, dpgather::CudaStream stream) {
    std::int64_t n = 0;
    for (const Request& request : requests) {
      host_ids_.data()[n] = request.id;
      host_positions_.data()[n++] = request.position;
    }
    return {field(ids_, host_ids_, n, stream), field(positions_, host_positions_, n, stream)};
  }

 private:
  template <class E>
  using OnDevice = dpgather::Buffer<E, dpgather::DeviceMemory>;
  template <class E>
  using OnHost = dpgather::Buffer<E, dpgather::PinnedMemory>;

  template <class E>
  static dpgather::BatchField<E> field(const OnDevice<E>& to, const OnHost<E>& from, std::int64_t n,
                                       dpgather::CudaStream stream) {
    dpgather::detail::cuda_check(
        cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(n) * sizeof(E),
                        cudaMemcpyHostToDevice, stream.get()),
        "cudaMemcpyAsync");
    return {.data = to.data(), .len = n, .capacity = to.size()};
  }

  OnDevice<std::int32_t> ids_;
  OnDevice<std::int64_t> positions_;
  OnHost<std::int32_t> host_ids_;
  OnHost<std::int64_t> host_positions_;
};

}  // namespace nccl_ffn
