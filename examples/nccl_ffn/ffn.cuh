// This rank's shard of every layer's FFN, by cuBLAS: columns of the first matrix, rows of the second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <cublas_v2.h>

#include <dpgather/core/cuda/launch.cuh>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/element.hpp>

#include "options.hpp"
#include "weights.hpp"

namespace nccl_ffn {

inline void cublas_check(cublasStatus_t status, const char* call) {
  dpgather::require<dpgather::Error>(status == CUBLAS_STATUS_SUCCESS, {.operation = "ffn"}, call,
                                     " failed: ", cublasGetStatusString(status));
}

template <class T>
struct Relu {
  dpgather::Rows<T> rows;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    for (std::int64_t j = lane; j < rows.width(); j += lanes)
      if (static_cast<float>(rows(i, j)) < 0) rows(i, j) = T(0.0f);
  }
  [[nodiscard]] std::int64_t row_bytes() const {
    return rows.width() * static_cast<std::int64_t>(sizeof(T));
  }
};

/// Nothing but launches in stream order: a graph can hold `run`.
template <dpgather::Element T>
class Ffn {
 public:
  Ffn(const Options& options, int rank, int ranks, std::int64_t most_rows)
      : shard_(options.inner / ranks), inner_(most_rows * shard_), workspace_(workspace_bytes) {
    cublas_check(cublasCreate(&cublas_), "cublasCreate");
    for (int layer = 0; layer < options.layers; ++layer) {
      const Shard shard = make_shard(options, layer, rank, ranks);
      weights_.push_back({on_device(shard.in), on_device(shard.out)});
    }
    dpgather::detail::cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  Ffn(const Ffn&) = delete;
  Ffn& operator=(const Ffn&) = delete;
  ~Ffn() { cublasDestroy(cublas_); }

  /// `partial` `[rows, H]`: this rank's summands of relu(`all` * in) * out; `all` is `[rows, H]`.
  void run(int layer, dpgather::Rows<const T> all, dpgather::Rows<T> partial,
           dpgather::CudaStream stream) {
    if (all.rows() == 0) return;
    const Weights& weights = weights_[static_cast<std::size_t>(layer)];
    const dpgather::Rows<T> inner(inner_.data(), all.rows(), shard_);
    // A workspace of our own: cuBLAS would allocate one inside each captured graph.
    cublas_check(cublasSetStream(cublas_, stream.get()), "cublasSetStream");
    cublas_check(cublasSetWorkspace(cublas_, workspace_.data(), workspace_bytes),
                 "cublasSetWorkspace");
    multiply(all, weights.in.data(), inner);
    dpgather::launch(stream, "relu", inner.rows(), Relu<T>{inner});
    multiply(inner, weights.out.data(), partial);
  }

 private:
  static constexpr std::int64_t workspace_bytes = std::int64_t{32} << 20;  // cuBLAS's own, Hopper
  using OnDevice = dpgather::Buffer<T, dpgather::DeviceMemory>;
  struct Weights {
    OnDevice in, out;
  };

  static OnDevice on_device(const std::vector<float>& numbers) {
    std::vector<T> elements;
    elements.reserve(numbers.size());
    for (const float number : numbers) elements.push_back(T(number));
    OnDevice buffer(static_cast<std::int64_t>(elements.size()));
    dpgather::detail::cuda_check(cudaMemcpy(buffer.data(), elements.data(),
                                            elements.size() * sizeof(T), cudaMemcpyHostToDevice),
                                 "cudaMemcpy");
    return buffer;
  }

  /// `to` = `from` * `matrix` `[from.width, to.width]`, all row by row. cuBLAS goes by columns: to
  /// it these are the transposes.
  void multiply(dpgather::Rows<const T> from, const T* matrix, dpgather::Rows<T> to) {
    constexpr cudaDataType_t type = std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_16BF;
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, dpgather::bf16>);
    const float one = 1, zero = 0;
    const auto rows = static_cast<int>(to.rows());
    const auto n = static_cast<int>(to.width()), k = static_cast<int>(from.width());
    cublas_check(cublasGemmEx(cublas_, CUBLAS_OP_N, CUBLAS_OP_N, n, rows, k, &one, matrix, type, n,
                              from.data(), type, k, &zero, to.data(), type, n, CUBLAS_COMPUTE_32F,
                              CUBLAS_GEMM_DEFAULT),
                 "cublasGemmEx");
  }

  std::int64_t shard_;  ///< columns of the inner matrix
  OnDevice inner_;
  dpgather::Buffer<std::byte, dpgather::DeviceMemory> workspace_;
  std::vector<Weights> weights_;
  cublasHandle_t cublas_ = nullptr;
};

}  // namespace nccl_ffn
