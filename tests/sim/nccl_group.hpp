// The group that a thread is in, and how every call of NCCL starts.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "sim/nccl_comm.hpp"
#include "sim/world.hpp"

namespace sim::nccl {

/// ncclGroupStart to the outermost ncclGroupEnd of one thread.
struct Group {
  struct Operations {
    ncclComm_t comm = nullptr;
    std::vector<Operation> operations;
    std::vector<cudaStream_t> streams;
    bool captured = false;
  };
  std::uint64_t run = run_number();
  int depth = 0;
  ncclResult_t error = ncclSuccess;  // of the first call that failed
  std::vector<std::pair<ncclComm_t, Job>> jobs;
  std::vector<Operations> operations;                  // by communicator
  std::vector<std::function<ncclResult_t()>> endings;  // destroy, abort
};
Group& group();

/// Does what the group has collected, and leaves it empty.
ncclResult_t do_group();

/// The start of every call: scheduling, injected errors, calls that this version lacks.
ncclResult_t begin(const char* name, int since, bool polls = false);

/// A call that does not care for groups.
template <class F>
ncclResult_t simple_call(const char* name, int since, const F& f) {
  const Turn turn;
  const ncclResult_t result = begin(name, since);
  return result == ncclSuccess ? f() : result;
}

/// A call that may be part of a group: `f` adds to it, and outside of one it is done at once.
template <class F>
ncclResult_t group_call(const char* name, int since, const F& f) {
  const Turn turn;
  ncclResult_t result = begin(name, since);
  if (result == ncclSuccess) result = f();
  if (group().depth == 0) {
    if (result != ncclSuccess) {
      group() = Group();
      return result;
    }
    return do_group();
  }
  if (group().error == ncclSuccess) group().error = result;
  return result;
}

}  // namespace sim::nccl
