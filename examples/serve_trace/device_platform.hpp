// The serving loop's work on device memory. What starts kernels (`dpgather::launch` on a CudaStream)
// comes from the file that includes this; the model's are functions of the host, so that only the
// simulation can run them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/graph/cuda/cuda_graphs.hpp>
#include <dpgather/pad/fields.hpp>

#include "platform.hpp"

namespace serve_trace {

/// Batch in device memory: views of buffers that Input owns.
struct DeviceBatch {
  dpgather::BatchField<std::int64_t> input_ids, positions, seq_lens;

  static constexpr auto fields = dpgather::batch_fields(
      dpgather::token_field("input_ids", &DeviceBatch::input_ids),
      dpgather::token_field("positions", &DeviceBatch::positions),
      dpgather::request_field("seq_lens", &DeviceBatch::seq_lens, {.fill = 1}));
};

template <>
struct Platform<dpgather::DeviceMemory> {
  using Stream = dpgather::CudaStream;
  using Graphs = dpgather::CudaGraphs;
  using BatchType = DeviceBatch;

  template <class T>
  class Elements {
   public:
    explicit Elements(std::int64_t count) : host_(count), device_(count) {}
    [[nodiscard]] T* data() const { return device_.data(); }
    [[nodiscard]] T* host() const { return host_.data(); }
    void upload(std::int64_t count, Stream stream) const {
      copy(host_.data(), device_.data(), count, stream);
    }
    void download(std::int64_t count, Stream stream) const {
      copy(device_.data(), host_.data(), count, stream);
    }

   private:
    static void copy(const T* from, T* to, std::int64_t count, Stream stream) {
      if (count == 0) return;
      dpgather::detail::cuda_check(
          cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyDefault,
                          stream.get()),
          "cudaMemcpyAsync");
    }
    dpgather::Buffer<T, dpgather::PinnedMemory> host_;
    dpgather::Buffer<T, dpgather::DeviceMemory> device_;  // freed first, which waits for copies
  };

  class Input {
   public:
    explicit Input(std::int64_t max_rows)
        : input_ids_(max_rows), positions_(max_rows), seq_lens_(max_rows), max_rows_(max_rows) {
      host_.reserve(max_rows, max_rows);
    }
    DeviceBatch& load(const Work& work, std::int64_t step, int dp_rank, Stream stream) {
      host_.assign(work, step, dp_rank);
      batch_.input_ids = uploaded(host_.input_ids, input_ids_, stream);
      batch_.positions = uploaded(host_.positions, positions_, stream);
      batch_.seq_lens = uploaded(host_.seq_lens, seq_lens_, stream);
      return batch_;
    }

   private:
    [[nodiscard]] dpgather::BatchField<std::int64_t> uploaded(const std::vector<std::int64_t>& from,
                                                              const Elements<std::int64_t>& to,
                                                              Stream stream) const {
      std::copy(from.begin(), from.end(), to.host());
      const std::int64_t len = std::ssize(from);
      to.upload(len, stream);
      return {.data = to.data(), .len = len, .capacity = max_rows_};
    }
    Batch host_;
    DeviceBatch batch_;
    Elements<std::int64_t> input_ids_, positions_, seq_lens_;
    std::int64_t max_rows_;
  };

  /// A kernel of one thread.
  template <class Op>
  static void work(Stream stream, std::string_view name, const Op& op) {
    launch(stream, name, 1, Once<Op>{op});
  }
  template <class Comm, class Control>
  static void wait(Comm& comm, Control& control, Stream stream) {
    comm.synchronize(stream, [&control] { control.check(); });
  }

 private:
  template <class Op>
  struct Once {
    Op op;
    void operator()(std::int64_t /*row*/, int lane, int /*lanes*/) const {
      if (lane == 0) op();
    }
  };
};

}  // namespace serve_trace
