// Ranks as threads of one process whose data lies on GPUs: ThreadComm<DeviceMemory>. Element work
// is started by core/cuda/launch.cuh, which the code that makes the calls includes.
#pragma once

#include <dpgather/comm/thread.hpp>
#include <dpgather/comm/thread/device/thread_comm.hpp>
