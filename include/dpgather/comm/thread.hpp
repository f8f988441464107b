// Ranks as threads of one process.
#pragma once

#include <dpgather/comm/thread/run_ranks.hpp>
#include <dpgather/comm/thread/thread_comm.hpp>
#include <dpgather/comm/thread/thread_control.hpp>
