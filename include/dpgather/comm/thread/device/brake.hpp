// What keeps kernels of a failed communicator from reading the buffers of a rank that is gone.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/core/stop_word.hpp>

namespace dpgather::detail {

/// A word in the memory of a rank's device, where every kernel of a captured call looks first, and a
/// stream to write it past those that wait.
class Brake {
 public:
  Brake() : word_(1) {
    cuda_check(cudaGetDevice(&device_), "cudaGetDevice");
    cuda_check(cudaMemsetAsync(word_.data(), 0, sizeof(std::uint32_t), stream_.get()),
               "cudaMemsetAsync");
    cuda_check(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }
  Brake(const Brake&) = delete;
  Brake& operator=(const Brake&) = delete;

  [[nodiscard]] int device() const { return device_; }
  [[nodiscard]] const std::uint32_t* word() const { return word_.data(); }
  /// Kernels that start after this do nothing. Returns when the word is written, or is not to be.
  void pull() const {
    const DeviceScope scope(device_);
    if (cudaMemsetAsync(word_.data(), 0xff, sizeof(std::uint32_t), stream_.get()) != cudaSuccess)
      return;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (cuda_pending(cudaStreamQuery(stream_.get())) && std::chrono::steady_clock::now() < limit)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  Buffer<std::uint32_t, DeviceMemory> word_;
  int device_ = 0;
  OwnStream stream_;
};

}  // namespace dpgather::detail
