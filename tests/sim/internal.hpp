// What the simulation's sources share besides world.hpp: the state of a run, and of a thread.
#pragma once

#include <functional>
#include <vector>

#include <cuda_runtime_api.h>

#include "sim/world.hpp"

namespace sim {

/// What CUDA keeps a thread.
struct ThreadState {
  int device = 0;
  cudaError_t last_error = cudaSuccess;
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
  std::vector<void*> own_streams;  // cudaStreamPerThread, by device
  int in_device_work = 0;
  int work_rank = -1;  // whose work that is
  int guest_turns = 0;
};
ThreadState& this_thread();

/// Rank threads of the pool start each run as new threads would.
void forget_thread_state();

/// Call of resets that on_reset has collected, in order.
void reset_all();

/// The report that is being written.
Report& report_now();

/// Runs `f` as device work of `rank`: device memory is open, waits are real.
void as_device_work(int rank, bool device_memory, const std::function<void()>& f);

// memory.cpp
void check_guards();
void leaks_of_memory(std::vector<std::string>& leaks);
// cuda_ipc.cpp
void leaks_of_mappings(std::vector<std::string>& leaks);
// stream.cpp, graph.cpp
void leaks_of_streams(std::vector<std::string>& leaks);
void leaks_of_graphs(std::vector<std::string>& leaks);

}  // namespace sim
