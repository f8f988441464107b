// Ranks that are processes of one host and store into each other's GPUs: IpcComm. Needs CUDA's
// headers.
#pragma once

#include <dpgather/comm/ipc/ipc_comm.hpp>
