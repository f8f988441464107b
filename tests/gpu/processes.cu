// SumLen<PeerStore> between real processes, one a GPU, forked before anything touches CUDA.
// Exit code 77 where there are fewer than two GPUs or they do not reach each other.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <dpgather/comm/ipc.hpp>
#include <dpgather/comm/nccl.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/cuda.cuh>

#include "gpu/gpus.hpp"
#include "property/layers.hpp"

namespace {

using namespace test;
using Comm = IpcComm<NcclComm<DeviceMemory, CheckLevel::local>>;
constexpr int skipped = 77;
constexpr std::int64_t most = 8, hidden = 64;

/// Replays of one graph with other counts each time; rows are looked at on the device.
void serve(Comm& comm, SharedMemoryControl& control, CudaStream stream) {
  const DpLayout layout{.dp = comm.size()};
  StepAgreement agreement(control, layout);
  DpGather<SumLen<PeerStore>, float, Comm> gather(
      comm, {.layout = layout, .hidden = hidden, .max_local_rows = most});
  const Buffer<float, DeviceMemory> rows(most * hidden), out(most * hidden);
  const Buffer<StepWords, DeviceMemory> now(1);
  const Buffer<std::int64_t, PinnedMemory> wrong(1);
  *wrong.data() = 0;
  const ShapeKey shape{.local_len = most,
                       .global_len = most * layout.dp,
                       .transport = Transport::sum_len_peer_store,
                       .forward = Forward::decode,
                       .is_static = true};
  const auto forward = [&](CudaStream s) {
    launch(s, "produce", most,
           ProduceLayer<float>{rows.rows(most, hidden), now.data(), 0, comm.rank()});
    const Rows<float> all = gather.gather(shape, rows.rows(most, hidden), s);
    const CheckLayer<float> look{all, gather.counts(), now.data(), 0, wrong.data()};
    launch(s, "look", all.rows(), look);
    const Rows<float> partial = gather.partial_slot(shape);
    launch(s, "ffn", partial.rows(),
           Ffn<float>{all, partial, gather.counts(), comm.rank(), layout.dp, true});
    gather.reduce_scatter(shape, partial, out.rows(most, hidden), s);
    launch(s, "check_out", most,
           CheckLayerOut<float>{out.rows(most, hidden), gather.counts(), now.data(), 0, comm.rank(),
                                layout.dp, wrong.data()});
    launch(s, "look", all.rows(), look);
  };
  std::mt19937_64 random(1);
  std::optional<CudaGraph> graph;
  const int steps = gpu::short_run() ? 20 : 5000;
  for (int step = 0; step < steps; ++step) {
    StepWords words{.index = step};
    const auto counts = draw_rows(random, layout.dp, most);
    std::copy(counts.begin(), counts.end(), words.rows);
    const std::int64_t n = words.rows[comm.rank()];
    agreement.post(
        {.tokens = n, .requests = n, .forward = n > 0 ? Forward::decode : Forward::idle});
    gather.begin_step(agreement.wait(), shape, stream);
    launch(stream, "step_words", 1, WriteStep{words, now.data()});
    if (step < 2)
      forward(stream);
    else if (step == 2)
      graph.emplace(CudaGraphs::capture(stream, forward));
    if (step >= 2) CudaGraphs::launch(*graph, stream, {.rank = comm.rank(), .step = step});
    if (step % 100 != 99 && step + 1 != steps) continue;
    comm.synchronize(stream, [&] { agreement.check(); });
    gather.status();
    expect(*wrong.data() == 0, "rank ", comm.rank(), " found wrong ", *wrong.data());
  }
}

/// The last rank does not come to a barrier: all say so.
void be_late(Comm& whole, CudaStream stream) {
  constexpr std::chrono::milliseconds deadline{1000};
  Comm comm(whole.base().split(0, whole.rank()), {.deadline = deadline});
  std::string text;
  try {
    if (comm.rank() == comm.size() - 1)
      std::this_thread::sleep_for(deadline + deadline / 2);
    else
      comm.barrier(stream);
    comm.synchronize(stream);
  } catch (const TimeoutError& error) {
    text = error.detail();
  }
  expect(text == concat("rank ", comm.size() - 1, " did not come to a barrier within 1000 ms"),
         "rank ", comm.rank(), " says \"", text, "\"");
}

int run(int rank, int size, const std::string& name) {
  try {
    detail::cuda_check(cudaSetDevice(rank), "cudaSetDevice");
    SharedMemoryControl control(name, rank, size, std::chrono::minutes(2));
    const OwnStream stream;
    Comm comm(NcclComm<DeviceMemory, CheckLevel::local>(share_by(control), rank, size,
                                                        {.deadline = std::chrono::minutes(2)}),
              {.deadline = std::chrono::seconds(30)});
    if (!comm.peers_in_reach()) return skipped;
    serve(comm, control, stream);
    be_late(comm, stream);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    return 1;
  }
}

/// The exit codes of processes that run `f(i)`, for i below `number`.
template <class F>
std::vector<int> fork_all(int number, const F& f) {
  std::vector<pid_t> children;
  for (int i = 0; i < number; ++i) {
    const pid_t child = fork();
    if (child == 0) std::_Exit(f(i));
    children.push_back(child);
  }
  std::vector<int> codes;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
  }
  return codes;
}

}  // namespace

int main() {
  const int size = std::min(fork_all(1, [](int) { return gpu::devices(); })[0], 8);
  if (size < 2) {
    std::puts("skipped: fewer than two GPUs");
    return skipped;
  }
  const std::string name = concat("/dpgather-gpu-", getpid());
  const auto codes = fork_all(size, [&](int rank) { return run(rank, size, name); });
  if (std::all_of(codes.begin(), codes.end(), [](int code) { return code == skipped; })) {
    std::puts("skipped: the GPUs do not reach each other's memory");
    return skipped;
  }
  return std::all_of(codes.begin(), codes.end(), [](int code) { return code == 0; }) ? 0 : 1;
}
