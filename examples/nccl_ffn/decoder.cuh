// One rank's decode loop: agree, select, begin, pad, run the graph, trim, check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <dpgather/comm/mpi/mpi_control.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/dpgather.hpp>

#include "gpu.hpp"
#include "layers.cuh"
#include "reference.hpp"

namespace nccl_ffn {

struct Figures {
  std::int64_t rows = 0;     ///< of this rank
  std::int64_t checked = 0;  ///< all of them right
  dpgather::GraphStatistics graphs;
};

template <dpgather::Element T>
class Decoder {
 public:
  Decoder(const Options& options, const dpgather::DpLayout& layout, dpgather::NcclComm<>& comm,
          dpgather::MpiControl& control)
      : options_(options),
        comm_(comm),
        agreement_(control, layout),
        requests_(static_cast<std::uint64_t>(options.seed), layout.dp_rank(comm.rank()),
                  options.requests),
        reference_(options),
        layers_(options, layout, comm),
        maker_(options.requests),
        inputs_({.tokens = layers_.gather().config().max_local_rows,
                 .requests = layers_.gather().config().max_local_rows}),
        results_(options.requests * options.hidden),
        graphs_(dpgather::CaptureSizes::sglang(options.graph_size, 1, layout.attn_tp)) {
    agreement_.set_policy(dpgather::Hash{}
                              .add(layers_.gather().fingerprint())
                              .add(graphs_.fingerprint())
                              .add(options.layers)
                              .add(options.inner)
                              .add(options.seed)
                              .value());
  }

  Figures run() {
    for (std::int64_t i = 0; i < options_.steps; ++i) step(requests_.next());
    figures_.graphs = graphs_.statistics();
    return figures_;
  }

 private:
  void step(std::span<const Request> requests) {
    const auto n = static_cast<std::int64_t>(requests.size());
    const dpgather::CudaStream stream = stream_.get();
    agreement_.post({.tokens = n,
                     .requests = n,
                     .forward = n > 0 ? dpgather::Forward::decode : dpgather::Forward::idle});
    Batch batch = maker_.make(requests, stream);  // the host works while ranks agree
    const dpgather::Step step = agreement_.wait();
    const dpgather::ShapeKey shape = graphs_.select(step, layers_.gather());
    layers_.gather().begin_step(step, shape, stream);
    dpgather::PaddedBatch padded{batch, step, shape, inputs_, {.stream = stream}};
    graphs_.run(
        step, shape, stream, agreement_,
        [this, &held = padded.batch()](const dpgather::ShapeKey& key, dpgather::CudaStream s) {
          inputs_.hold(s);
          layers_.run(key, held, s);
        });
    const dpgather::Rows<T> mine = padded.trim(layers_.output(shape));  // [n, H]
    dpgather::detail::cuda_check(cudaMemcpyAsync(results_.data(), mine.data(),
                                                 static_cast<std::size_t>(mine.size()) * sizeof(T),
                                                 cudaMemcpyDeviceToHost, stream.get()),
                                 "cudaMemcpyAsync");
    // Not the stream's own wait, which lasts for ever if a peer is lost or has given up.
    comm_.synchronize(stream, [this] { agreement_.check(); });
    layers_.gather().status();
    figures_.rows += n;
    if (options_.check != 0 && step.index() % options_.check == 0) check(step, requests);
  }

  /// Throws if one number of one row is not what a rank alone would compute.
  void check(const dpgather::Step& step, std::span<const Request> requests) {
    const T* got = results_.data();
    for (const Request& request : requests) {
      for (const float want : reference_.row(request.id, request.position)) {
        const auto at = got - results_.data();
        const auto number = static_cast<float>(*got++);
        dpgather::require<dpgather::Error>(number == want, {comm_.rank(), step.index(), "check"},
                                           "row ", at / options_.hidden, " of ", requests.size(),
                                           " has ", number, " in column ", at % options_.hidden,
                                           ", must be ", want);
      }
      ++figures_.checked;
    }
  }

  const Options& options_;
  dpgather::NcclComm<>& comm_;
  dpgather::OwnStream stream_;
  dpgather::StepAgreement<dpgather::MpiControl> agreement_;
  Requests requests_;
  Reference reference_;
  Layers<T> layers_;
  BatchMaker maker_;
  dpgather::StaticInputs<Batch, dpgather::DeviceMemory> inputs_;
  dpgather::Buffer<T, dpgather::PinnedMemory> results_;
  Figures figures_;
  // Last, so that it goes before all that its graphs hold.
  dpgather::GraphCache<dpgather::ShapeKey, dpgather::CaptureSizes, dpgather::KeepAll,
                       dpgather::CudaGraphs>
      graphs_;
};

}  // namespace nccl_ffn
