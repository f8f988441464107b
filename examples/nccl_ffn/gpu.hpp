// Which GPU a process takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/core/cuda/api.hpp>

#include "gpu_choice.hpp"

namespace nccl_ffn {

/// Of the GPUs that this process sees, in its numbering; none, and why in `code`, if it cannot tell.
inline std::vector<Uuid> visible_gpus(cudaError_t& code) {
  int number = 0;
  code = cudaGetDeviceCount(&number);
  std::vector<Uuid> found;
  for (int gpu = 0; code == cudaSuccess && gpu < number; ++gpu) {
    cudaDeviceProp properties{};
    code = cudaGetDeviceProperties(&properties, gpu);
    std::copy_n(properties.uuid.bytes, 16, found.emplace_back().begin());
  }
  if (code != cudaSuccess) found.clear();
  return found;
}

/// Collective. What each process of `host` sees.
inline std::vector<std::vector<Uuid>> visible_on_host(const std::vector<Uuid>& mine,
                                                      MPI_Comm host) {
  using dpgather::mpi::check;
  const auto processes = static_cast<std::size_t>(dpgather::mpi::size_of(host));
  const int bytes = static_cast<int>(mine.size() * sizeof(Uuid));
  std::vector<int> sizes(processes), starts(processes);
  check(MPI_Allgather(&bytes, 1, MPI_INT, sizes.data(), 1, MPI_INT, host), "MPI_Allgather");
  std::exclusive_scan(sizes.begin(), sizes.end(), starts.begin(), 0);
  std::vector<Uuid> all(static_cast<std::size_t>(starts.back() + sizes.back()) / sizeof(Uuid));
  check(MPI_Allgatherv(mine.data(), bytes, MPI_BYTE, all.data(), sizes.data(), starts.data(),
                       MPI_BYTE, host),
        "MPI_Allgatherv");
  std::vector<std::vector<Uuid>> seen(processes);
  auto at = all.begin();
  for (std::size_t process = 0; process < processes; ++process) {
    const auto number =
        static_cast<std::ptrdiff_t>(sizes[process] / static_cast<int>(sizeof(Uuid)));
    seen[process].assign(at, at + number);
    at += number;
  }
  return seen;
}

/// Collective. Each process of a host takes a GPU of its own among those that it sees: all, or some,
/// or one, as its launcher has it. On every rank alike: false if some host has too few for one each;
/// then `problem` has the reason on the first rank of such a host.
inline bool take_gpu(std::optional<std::string>& problem) {
  using namespace dpgather;
  MPI_Comm split = MPI_COMM_NULL;
  mpi::check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &split),
             "MPI_Comm_split_type");
  const mpi::OwnedComm host(split);
  const int rank = mpi::rank_of(split), processes = mpi::size_of(split);

  // Errors are told after the exchange: the others of this host wait in it.
  cudaError_t code = cudaSuccess;
  const std::vector<int> taken = choose_gpus(visible_on_host(visible_gpus(code), split));
  const auto without = std::count(taken.begin(), taken.end(), -1);
  int ok = without == 0 ? 1 : 0;
  if (ok == 0 && rank == 0)
    problem = concat(processes, " processes on this host need a GPU each, ", processes - without,
                     " can be used",
                     code == cudaSuccess ? "" : concat(" (", cudaGetErrorString(code), ")"));
  mpi::check(MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD),
             "MPI_Allreduce");
  if (ok == 0) return false;
  detail::cuda_check(cudaSetDevice(taken[static_cast<std::size_t>(rank)]), "cudaSetDevice");
  return true;
}

}  // namespace nccl_ffn
