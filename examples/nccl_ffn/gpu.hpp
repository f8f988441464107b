// Which GPU a process takes.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace nccl_ffn {

/// Collective. The processes of a host take its GPUs in turn; a launcher may also show each of them
/// one GPU alone. On every rank alike: false if some host has too few for one each; then `problem`
/// has the reason on the first rank of such a host.
inline bool take_gpu(std::optional<std::string>& problem) {
  using namespace dpgather;
  MPI_Comm split = MPI_COMM_NULL;
  mpi::check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &split),
             "MPI_Comm_split_type");
  const mpi::OwnedComm host(split);
  const int rank = mpi::rank_of(split), processes = mpi::size_of(split);

  // Errors are told after the exchange: the others of this host wait in it.
  int seen = 0;
  cudaDeviceProp mine{};  // its uuid is all zero without a GPU
  cudaError_t code = cudaGetDeviceCount(&seen);
  if (code == cudaSuccess && seen > 0) code = cudaGetDeviceProperties(&mine, rank % seen);
  if (code != cudaSuccess) mine = {};
  std::vector<std::array<char, 16>> all(static_cast<std::size_t>(processes));
  mpi::check(MPI_Allgather(mine.uuid.bytes, 16, MPI_BYTE, all.data(), 16, MPI_BYTE, split),
             "MPI_Allgather");
  std::set<std::array<char, 16>> distinct(all.begin(), all.end());
  distinct.erase(std::array<char, 16>{});
  const int gpus = static_cast<int>(distinct.size());

  int ok = gpus == processes ? 1 : 0;
  if (ok == 0 && rank == 0)
    problem = concat(processes, " processes on this host need a GPU each, ", gpus, " can be used",
                     code == cudaSuccess ? "" : concat(" (", cudaGetErrorString(code), ")"));
  mpi::check(MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD),
             "MPI_Allreduce");
  if (ok == 0) return false;
  detail::cuda_check(cudaSetDevice(rank % seen), "cudaSetDevice");
  return true;
}

}  // namespace nccl_ffn
