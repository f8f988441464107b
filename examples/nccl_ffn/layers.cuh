// The model of one rank: what its graphs hold.
#pragma once

#include <cstdint>

#include <dpgather/comm/nccl.hpp>
#include <dpgather/cuda.cuh>

#include "batch.hpp"
#include "ffn.cuh"
#include "numbers.hpp"
#include "options.hpp"

namespace nccl_ffn {

/// --mode: the rule of a user's own, which need only depend on what all ranks know.
struct AskedRule {
  Mode mode = Mode::automatic;
  dpgather::VolumeRule volume = {};

  [[nodiscard]] dpgather::LenMode choose(const dpgather::StepLoad& load) const {
    if (mode == Mode::automatic) return volume.choose(load);
    return mode == Mode::max_len ? dpgather::LenMode::max_len : dpgather::LenMode::sum_len;
  }
  [[nodiscard]] std::uint64_t fingerprint() const {
    return dpgather::Hash{}.add(mode).add(volume.fingerprint()).value();
  }
};

/// Rows of a batch as they enter the first layer.
template <class T>
struct EmbedRow {
  const std::int32_t* ids;
  const std::int64_t* positions;
  dpgather::Rows<T> to;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    for (std::int64_t j = lane; j < to.width(); j += lanes)
      to(i, j) = T(static_cast<float>(embed(ids[i], positions[i], j)));
  }
  [[nodiscard]] std::int64_t row_bytes() const { return dpgather::detail::row_bytes(to); }
};
template <class T>
struct MixRow {
  dpgather::Rows<const T> from;
  dpgather::Rows<T> to;
  int layer;
  DPGATHER_HD void operator()(std::int64_t i, int lane, int lanes) const {
    for (std::int64_t j = lane; j < to.width(); j += lanes)
      to(i, j) = T(static_cast<float>(mix(static_cast<float>(from(i, j)), layer, j)));
  }
  [[nodiscard]] std::int64_t row_bytes() const { return dpgather::detail::row_bytes(to); }
};

template <dpgather::Element T>
class Layers {
 public:
  using Gather = dpgather::DpGather<dpgather::Auto<AskedRule>, T, dpgather::NcclComm<>>;

  Layers(const Options& options, const dpgather::DpLayout& layout, dpgather::NcclComm<>& comm)
      : layers_(options.layers),
        gather_(comm,
                {.layout = layout, .hidden = options.hidden, .max_local_rows = options.requests},
                {.rule = {.mode = options.mode}}),
        ffn_(options, comm.rank(), comm.size(), gather_.config().max_global_rows),
        output_(gather_.config().max_local_rows * options.hidden) {}

  [[nodiscard]] Gather& gather() { return gather_; }
  /// `[local_len, H]`, own rows first; at a fixed address.
  [[nodiscard]] dpgather::Rows<T> output(const dpgather::ShapeKey& shape) const {
    return output_.rows(shape.local_len, gather_.config().hidden);
  }

  /// Captured once a shape: `batch` lies at fixed addresses, and what else varies is read by the
  /// library when it runs.
  void run(const dpgather::ShapeKey& shape, const Batch& batch, dpgather::CudaStream stream) {
    const dpgather::Rows<T> out = output(shape);
    for (int layer = 0; layer < layers_; ++layer) {
      const dpgather::Rows<T> hidden = gather_.slot(shape);  // [local_len, H], gathered uncopied
      if (layer == 0)
        dpgather::launch(stream, "embed", hidden.rows(),
                         EmbedRow<T>{batch.ids.data, batch.positions.data, hidden});
      else  // attention would be here
        dpgather::launch(stream, "mix", hidden.rows(), MixRow<T>{out, hidden, layer});
      const dpgather::Rows<T> all = gather_.gather(shape, hidden, stream);  // [global_len, H]
      const dpgather::Rows<T> partial = gather_.partial_slot(shape);        // [global_len, H]
      ffn_.run(layer, all, partial, stream);
      gather_.reduce_scatter(shape, partial, out, stream);  // [local_len, H]
    }
  }

 private:
  int layers_;
  Gather gather_;
  Ffn<T> ffn_;
  dpgather::Buffer<T, dpgather::DeviceMemory> output_;
};

}  // namespace nccl_ffn
