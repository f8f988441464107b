// mpirun -np 8 nccl_ffn: one process a GPU.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <optional>
#include <string>

#include <dpgather/comm/mpi/environment.hpp>
#include <dpgather/comm/nccl/unique_id_mpi.hpp>

#include "decoder.cuh"

namespace nccl_ffn {
namespace {

constexpr int good = 0, bad_input = 2, no_gpu = 3;

template <dpgather::Element T>
Figures decode(const Options& options, const dpgather::DpLayout& layout, int rank) {
  const std::chrono::milliseconds deadline = std::chrono::seconds(options.deadline);
  dpgather::MpiControl control(MPI_COMM_WORLD, deadline);
  dpgather::NcclComm<> comm(dpgather::share_by_mpi(MPI_COMM_WORLD, deadline), rank, layout.world(),
                            {.deadline = deadline});
  return Decoder<T>(options, layout, comm, control).run();
}

void print(const Options& options, const dpgather::DpLayout& layout, const Figures& figures,
           std::int64_t rows, std::int64_t checked) {
  const auto& graphs = figures.graphs;
  std::printf("nccl_ffn: dp %d, attn_tp %d, %s, %d layers of %" PRId64 " x %" PRId64 "\n",
              layout.dp, layout.attn_tp, options.type == Type::bf16 ? "bf16" : "float",
              options.layers, options.hidden, options.inner);
  std::printf("  %" PRId64 " steps, %" PRId64 " rows on all ranks, %" PRId64
              " checked, none wrong\n",
              options.steps, rows, checked);
  std::printf("  %" PRIu64 " graphs (%" PRIu64 " bytes), %" PRIu64 " replays, %" PRIu64
              " eager steps:",
              graphs.captures, graphs.graph_bytes, graphs.replays, graphs.eager_steps());
  for (std::size_t i = 0; i < graphs.eager.size(); ++i)
    if (graphs.eager[i] > 0)
      std::printf(" %s %" PRIu64, std::string(name(static_cast<dpgather::EagerReason>(i))).c_str(),
                  graphs.eager[i]);
  std::printf("\n");
}

int run_rank(int argc, char** argv) {
  const int rank = dpgather::mpi::rank_of(MPI_COMM_WORLD);
  std::string help;
  std::optional<Options> options;
  dpgather::DpLayout layout;
  try {  // all ranks were given the same, and come to the same
    options = parse_options(argc, argv, help);
    if (options) layout = options->layout(dpgather::mpi::size_of(MPI_COMM_WORLD));
  } catch (const BadInput& error) {
    if (rank == 0) std::fprintf(stderr, "nccl_ffn: %s\n", error.what());
    return bad_input;
  }
  if (!options) {
    if (rank == 0) std::printf("%s", help.c_str());
    return good;
  }
  std::optional<std::string> problem;
  if (!take_gpu(problem)) {
    if (problem) std::fprintf(stderr, "nccl_ffn: %s\n", problem->c_str());
    return no_gpu;
  }
  const Figures figures = options->type == Type::bf16
                              ? decode<dpgather::bf16>(*options, layout, rank)
                              : decode<float>(*options, layout, rank);
  std::int64_t totals[] = {figures.rows, figures.checked};
  dpgather::mpi::check(MPI_Allreduce(MPI_IN_PLACE, totals, 2, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD),
                       "MPI_Allreduce");
  if (rank == 0) print(*options, layout, figures, totals[0], totals[1]);
  return good;
}

}  // namespace
}  // namespace nccl_ffn

int main(int argc, char** argv) {
  const dpgather::MpiEnvironment environment(argc, argv);
  // An error of a rank is one line of it, and the end of all.
  return environment.run([&] { return nccl_ffn::run_rank(argc, argv); });
}
