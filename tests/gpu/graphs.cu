// CUDA graphs on GPUs: replays with changing counts, captures that fail, an engine's own captures.
#include <functional>
#include <map>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

#include "gpu/model.cuh"

namespace {

using namespace gpu;

using Counts = std::vector<std::int64_t>;

/// One step through the cache, checked. `spoil` is called inside the body, after everything.
template <class Model>
ShapeKey run_step(Model& model, Graphs& graphs, const Counts& counts,
                  const std::function<void(CudaStream)>& spoil = {}) {
  auto& rank = model.rank();
  const Step step = model.agree(counts);
  const ShapeKey shape = graphs.select(step, model.gather());
  model.begin(step, shape, rank.stream);
  static_cast<void>(cudaGetLastError());
  graphs.run(step, shape, rank.stream, rank.agreement, [&](const ShapeKey& key, CudaStream stream) {
    model.forward(key, stream);
    if (spoil) spoil(stream);
  });
  expect(cudaGetLastError() == cudaSuccess, "CUDA's last error was left set");
  model.check(step, shape, rank.stream);
  return shape;
}
/// Counts of the next step.
template <class Model>
Counts next_counts(Model& model, std::int64_t most) {
  return counts_of(model.rank().layout, model.rank().agreement.next_step(), most);
}
template <class Model>
Counts all_have(Model& model, std::int64_t rows) {
  return Counts(static_cast<std::size_t>(model.rank().layout.dp), rows);
}

struct Planned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A capture that `spoil` breaks: that step and later ones of its key are right and eager, other keys
/// are captured.
template <class Comm>
void survives(const char* reason, const std::function<void(int, CudaStream)>& spoil) {
  with_models<Comm>([&](auto& model, Transport) {
    Graphs graphs(CaptureSizes({8, 16}));
    run_step(model, graphs, all_have(model, 7), [&](CudaStream stream) {
      if (stream.capturing()) spoil(model.rank().rank(), stream);
    });
    const auto& did = graphs.statistics();
    expect(did.failed_captures == 1 && did.captures == 0, "the capture did not fail");
    expect(graphs.last_failure().find(reason) != std::string::npos, "last_failure is \"",
           graphs.last_failure(), "\", without \"", reason, "\"");
    for (int i = 0; i < 3; ++i) run_step(model, graphs, all_have(model, 7));
    expect(did.eager[static_cast<std::size_t>(EagerReason::capture_failed)] == 3,
           "the key was not eager");
    for (int i = 0; i < 4; ++i) run_step(model, graphs, all_have(model, 13));
    expect(did.captures == 1 && did.failed_captures == 1 && did.replays == 3, did.captures,
           " captures of the other size, ", did.replays, " replays");
  });
}

}  // namespace

TEST_CASE_TEMPLATE("a capture serves 100 steps of changing counts", Comm, Threads, Nccl) {
  with_models<Comm>([](auto& model, Transport transport) {
    Graphs graphs(CaptureSizes({16}));
    std::map<ShapeKey, int> steps;  // SUM_LEN has several global lens
    int most = 0;
    while (most < 101) {
      expect(model.rank().agreement.next_step() < 1500, "no key was met 101 times in 1500 steps");
      most = std::max(most, ++steps[run_step(model, graphs, next_counts(model, 16))]);
    }
    const auto& did = graphs.statistics();
    expect(did.captures == steps.size() && did.failed_captures == 0, did.captures, " captures for ",
           steps.size(), " keys");
    if (transport == Transport::max_len)
      expect(did.captures == 1 && did.replays == 100, "not one capture");
  });
}

TEST_CASE_TEMPLATE("a graph a size, each replayed among the others", Comm, Threads, Nccl) {
  with_models<Comm>([](auto& model, Transport) {
    Graphs graphs(CaptureSizes({2, 4, 8, 12, 16}));
    for (int i = 0; i < 60; ++i) run_step(model, graphs, next_counts(model, 1 + i * 7 % 16));
    const auto& did = graphs.statistics();
    expect(did.captures >= 3 && did.failed_captures == 0 && did.replays + did.captures == 60,
           did.captures, " captures, ", did.replays, " replays");
  });
}

TEST_CASE_TEMPLATE("a capture whose body throws on one rank leaves everything usable", Comm,
                   Threads, Nccl) {
  survives<Comm>("on purpose", [](int rank, CudaStream) {
    if (rank == 0) throw Planned("on purpose");
  });
}

TEST_CASE_TEMPLATE("a capture that did what captures forbid leaves everything usable", Comm,
                   Threads, Nccl) {
  SUBCASE("a synchronisation") {
    survives<Comm>("cudaErrorStreamCapture", [](int, CudaStream stream) {
      static_cast<void>(cudaStreamSynchronize(stream.get()));
    });
  }
  SUBCASE("an allocation, on one rank") {
    survives<Comm>("cudaErrorStreamCapture", [](int rank, CudaStream) {
      void* data = nullptr;
      if (rank == 0) static_cast<void>(cudaMalloc(&data, 1024));
    });
  }
}

TEST_CASE_TEMPLATE("the default stream serves eager steps, and is refused for capture", Comm,
                   Threads, Nccl) {
  for (const cudaStream_t stream : {cudaStream_t{nullptr}, cudaStreamPerThread})
    with_models<Comm>([stream](auto& model, Transport) {
      model.rank().stream = stream;
      Graphs graphs(CaptureSizes({16}));
      for (int i = 0; i < 4; ++i) run_step(model, graphs, all_have(model, 3 + i));
      const auto& did = graphs.statistics();
      expect(did.captures == 0 && did.failed_captures >= 1 && did.replays == 0,
             "a default stream was captured");
      expect(graphs.last_failure().find("default stream") != std::string::npos,
             "last_failure is \"", graphs.last_failure(), "\"");
    });
}

TEST_CASE_TEMPLATE("after invalidate graphs are captured anew, over another gather", Comm, Threads,
                   Nccl) {
  with_models<Comm>([](auto& model, Transport transport) {
    using OneModel = std::remove_reference_t<decltype(model)>;
    Graphs graphs(CaptureSizes({16}));
    for (int i = 0; i < 3; ++i) run_step(model, graphs, all_have(model, 11));
    graphs.invalidate(model.rank().agreement);
    OneModel other(model.rank(), transport);
    for (int i = 0; i < 3; ++i) run_step(other, graphs, all_have(model, 11));
    const auto& did = graphs.statistics();
    expect(did.captures == 2 && did.replays == 4 && did.invalidations == 1, did.captures,
           " captures, ", did.replays, " replays");
    graphs.invalidate(model.rank().agreement);  // before the gather that they hold
  });
}
