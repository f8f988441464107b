// Ranks as GPUs over NCCL: NcclComm, NcclUniqueId, NcclMemory. Not part of the umbrella header.
// Sending the id by MPI is in comm/nccl/unique_id_mpi.hpp, which this leaves out.
#pragma once

#include <dpgather/comm/nccl/memory.hpp>
#include <dpgather/comm/nccl/nccl_comm.hpp>
#include <dpgather/comm/nccl/options.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>
#include <dpgather/comm/nccl/unique_id_file.hpp>
