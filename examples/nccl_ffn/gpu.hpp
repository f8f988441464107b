// Which GPU a process takes.
#pragma once

#include <optional>
#include <string>

#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/core/cuda/api.hpp>

namespace nccl_ffn {

/// Collective. The first process of a host takes its first GPU, and so on. On every rank alike: false
/// if some host has too few; then `problem` has the reason on the first rank of such a host.
inline bool take_gpu(std::optional<std::string>& problem) {
  MPI_Comm split = MPI_COMM_NULL;
  dpgather::mpi::check(
      MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &split),
      "MPI_Comm_split_type");
  const dpgather::mpi::OwnedComm host(split);
  const int rank = dpgather::mpi::rank_of(split), processes = dpgather::mpi::size_of(split);
  int gpus = 0;
  const cudaError_t code = cudaGetDeviceCount(&gpus);
  if (code != cudaSuccess) gpus = 0;
  int ok = gpus >= processes ? 1 : 0;
  if (ok == 0 && rank == 0)
    problem = dpgather::concat(
        processes, " processes on this host need a GPU each, ", gpus, " can be used",
        code == cudaSuccess ? "" : dpgather::concat(" (", cudaGetErrorString(code), ")"));
  dpgather::mpi::check(MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD),
                       "MPI_Allreduce");
  if (ok == 0) return false;
  dpgather::detail::cuda_check(cudaSetDevice(rank), "cudaSetDevice");
  return true;
}

}  // namespace nccl_ffn
