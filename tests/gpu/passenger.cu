// An engine that captures by itself, as this test does: the library selects, guards and counts.
#include <map>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "gpu/model.cuh"

namespace {

using namespace gpu;

/// The engine's own graph, with the library's notes.
class EngineGraph {
 public:
  template <class Body>
  EngineGraph(CudaStream stream, const Body& body) {
    detail::cuda_check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
                       "cudaStreamBeginCapture");
    {
      const CaptureScope scope(notes_);
      body(stream);
    }
    cudaGraph_t graph = nullptr;
    detail::cuda_check(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture");
    detail::cuda_check(cudaGraphInstantiate(&exec_, graph, 0), "cudaGraphInstantiate");
    detail::cuda_check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  }
  EngineGraph(const EngineGraph&) = delete;
  EngineGraph& operator=(const EngineGraph&) = delete;
  ~EngineGraph() { detail::cuda_report(cudaGraphExecDestroy(exec_), "cudaGraphExecDestroy"); }

  void launch(CudaStream stream, const ErrorContext& where = {}) const {
    notes_.check(where);
    detail::cuda_check(cudaGraphLaunch(exec_, stream.get()), "cudaGraphLaunch");
    notes_.launched();
  }

 private:
  CaptureNotes notes_;
  cudaGraphExec_t exec_ = nullptr;
};

template <class E, class F>
void throws(const F& f, std::string_view part) {
  try {
    f();
  } catch (const E& error) {
    expect(std::string_view(error.what()).find(part) != std::string_view::npos, "the error is \"",
           error.what(), "\", without \"", part, "\"");
    return;
  }
  expect(false, "no error came, one with \"", part, "\" was due");
}

}  // namespace

TEST_CASE_TEMPLATE("passenger mode: the engine's graph is replayed with changing counts", Comm,
                   Threads, Nccl) {
  with_models<Comm>([](auto& model, Transport) {
    auto& rank = model.rank();
    Graphs graphs(CaptureSizes({16}));
    std::map<ShapeKey, EngineGraph> captured;  // SUM_LEN has several global lens
    std::uint64_t captures = 0;
    for (int i = 0; i < 60; ++i) {
      const Step step = model.agree(counts_of(rank.layout, i, 16));
      const ShapeKey shape = graphs.select(step, model.gather());
      model.begin(step, shape, rank.stream);
      if (graphs.holds(shape)) {
        graphs.note_replay(step, shape);
        captured.at(shape).launch(rank.stream, {rank.rank(), step.index(), "engine"});
      } else {
        model.forward(shape, rank.stream);  // the warm-up is this step
        captured.try_emplace(shape, rank.stream, [&](CudaStream s) { model.forward(shape, s); });
        expect(rank.agreement.confirm(true).ok, "a rank did not capture");
        graphs.note_capture(shape);
        graphs.note_eager(EagerReason::warm_up);
        ++captures;
      }
      model.check(step, shape, rank.stream);
      if (i == 29) {
        graphs.invalidate(rank.agreement);
        captured.clear();
        throws<GraphError>([&] { graphs.note_replay(step, shape); }, "invalidate");
      }
    }
    const auto& did = graphs.statistics();
    expect(did.captures == captures && did.replays == 60 - captures && did.replays > 20,
           did.captures, " captures, ", did.replays, " replays");
  });
}

TEST_CASE_TEMPLATE("a count above the captured len is cut off on the device, and status says so",
                   Comm, Threads, Nccl) {
  with_models<Comm>([](auto& model, Transport transport) {
    auto& rank = model.rank();
    const auto all_have = [&](std::int64_t n) {
      return model.agree(std::vector<std::int64_t>(static_cast<std::size_t>(rank.layout.dp), n));
    };
    ShapeKey shape{.local_len = 8,
                   .global_len = 8 * rank.layout.dp,
                   .transport = transport,
                   .forward = Forward::decode,
                   .is_static = true};
    const Step step = all_have(8);
    model.begin(step, shape, rank.stream);
    model.forward(shape, rank.stream);
    model.check(step, shape, rank.stream);
    const EngineGraph graph(rank.stream, [&](CudaStream s) { model.forward(shape, s); });
    expect(rank.agreement.confirm(true).ok, "a rank did not capture");

    ShapeKey larger = shape;
    larger.local_len = 16, larger.global_len = 16 * rank.layout.dp;
    const Step excess = all_have(13);
    throws<CapacityError>([&] { model.begin(excess, shape, rank.stream); }, "");  // on the host
    model.begin(excess, larger, rank.stream);
    graph.launch(rank.stream);  // a launch that no guard saw
    rank.comm.synchronize(rank.stream);
    throws<CapacityError>([&] { model.gather().status(); }, "a count of 13 rows");
    model.gather().status();  // told once
    model.forget_findings();

    const Step next = all_have(5);
    model.begin(next, shape, rank.stream);
    graph.launch(rank.stream);
    model.check(next, shape, rank.stream);
  });
}
