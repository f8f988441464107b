// How communicators are asked, fail and end. NCCL user guide, "Communicator Creation and Management
// Functions" and "Error handling and communicator abort".
#include <algorithm>

#include "sim/device.hpp"
#include "sim/nccl_data.hpp"
#include "sim/nccl_group.hpp"
#include "sim/scheduler.hpp"

namespace sim::nccl {

std::string absent(const ncclComm& comm, const Meeting& meeting) {
  std::string text = "ranks";
  for (int r = 0; r < comm.clique->size; ++r)
    if (meeting.items.count(r) == 0)
      text += " " + std::to_string(r) +
              (comm.clique->left[static_cast<std::size_t>(r)] ? " (has left)" : "");
  return text;
}

namespace {

Job finalization(ncclComm_t comm) {
  const auto meeting = [comm]() -> Meeting& {
    return comm->clique->meetings[{"ncclCommFinalize", 0}];
  };
  meeting().items[comm->rank] = {};
  Job job;
  job.name = "ncclCommFinalize";
  job.step = [comm, meeting]() -> std::optional<ncclResult_t> {
    if (device_error(comm->device) != cudaSuccess)
      return fail(ncclUnhandledCudaError, "ncclCommFinalize: the device has failed");
    if (comm->completed < comm->issued) return std::nullopt;
    if (meeting().items.size() != static_cast<std::size_t>(comm->clique->size)) return std::nullopt;
    return ncclSuccess;
  };
  job.waits_for = [comm, meeting] {
    return comm->completed < comm->issued ? "its own operations" : absent(*comm, meeting());
  };
  return job;
}

/// Waits for what this rank has issued, and for graphs that hold its operations.
ncclResult_t end(ncclComm_t comm, const char* call) {
  const auto live = [comm] {
    return std::count_if(comm->captured.begin(), comm->captured.end(),
                         [](const auto& launch) { return !launch.expired(); });
  };
  const auto what = [&] {
    const auto launches = comm->issued - comm->completed;
    std::string text = std::string(call) + " of " + name_of(*comm) + " waits for ";
    if (launches > 0) return text + std::to_string(launches) + " launches on streams";
    if (live() > 0)
      return text + "live graphs that hold " + std::to_string(live()) +
             " of its launches; destroy them before";
    return text + "its peers to end as well";
  };
  // A failed device does no more work, and lets go of all.
  const auto failed = [comm] { return device_error(comm->device) != cudaSuccess; };
  auto& ending = comm->clique->ending;
  ending[static_cast<std::size_t>(comm->rank)] = true;
  const auto peers = [&] {
    return !options().ends_together ||
           std::find(ending.begin(), ending.end(), false) == ending.end();
  };
  const bool done = block_until(
      [&] { return (failed() || (comm->completed == comm->issued && live() == 0)) && peers(); },
      what);
  leave(*comm);
  comm->destroyed = true;
  progress();
  if (!done) return fail(ncclSystemError, "the simulation has ended");
  return failed() ? fail(ncclUnhandledCudaError, std::string(call) + ": the device has failed")
                  : ncclSuccess;
}

ncclResult_t ask(const char* call, ncclComm_t comm, int* out, int ncclComm::*what) {
  return simple_call(call, 20000, [&] {
    const ncclResult_t ready = check_ready(comm, call);
    if (ready != ncclSuccess) return ready;
    if (out == nullptr) return fail(ncclInvalidArgument, std::string(call) + ": null result");
    *out = comm->*what;
    return ncclSuccess;
  });
}

template <class F>
ncclResult_t ending_call(const char* name, ncclComm_t comm, const F& f) {
  const Turn turn;
  const ncclResult_t begun = begin(name, 20000);
  ncclResult_t result = ended() ? ncclSuccess : begun;  // ranks that unwind let go of things
  if (comm != nullptr && !in_device_work()) {
    const ncclResult_t done = f();
    if (result == ncclSuccess) result = done;
  }
  if (group().error == ncclSuccess) group().error = result;
  return group().depth > 0 ? result : do_group();
}

}  // namespace
}  // namespace sim::nccl

using namespace sim::nccl;

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  return simple_call("ncclGetVersion", 0, [&] {
    if (version == nullptr) return fail(ncclInvalidArgument, "ncclGetVersion: version is null");
    *version = options().version;
    return ncclSuccess;
  });
}

const char* ncclGetErrorString(ncclResult_t result) {
  static const char* const texts[] = {
      "no error",
      "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
      "unhandled system error (run with NCCL_DEBUG=INFO for details)",
      "internal error - please report this issue to the NCCL developers",
      "invalid argument (run with NCCL_DEBUG=WARN for details)",
      "invalid usage (run with NCCL_DEBUG=WARN for details)",
      "remote process exited or there was a network error",
      "NCCL operation in progress"};
  return result >= 0 && result < ncclNumResults ? texts[result] : "unknown result code";
}

const char* ncclGetLastError(ncclComm_t) {
  const sim::Turn turn;
  static thread_local std::string text;  // stays valid until the thread asks again
  text = last_error();
  return text.c_str();
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return group_call("ncclCommFinalize", 21400, [&] {
    if (comm == nullptr) return ncclSuccess;
    const ncclResult_t ready = check_ready(comm, "ncclCommFinalize");
    if (ready != ncclSuccess) return ready;
    if (comm->finalized) return fail(ncclInvalidArgument, "ncclCommFinalize: finalized before");
    comm->finalized = true;
    group().jobs.emplace_back(comm, finalization(comm));
    return ncclSuccess;
  });
}

// An error injected into either of these two is of the kind that leaves nothing behind all the same.

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  return ending_call("ncclCommDestroy", comm, [comm] {
    const ncclResult_t ready = check_ready(comm, "ncclCommDestroy");
    if (ready == ncclSuccess)
      group().endings.emplace_back([comm] { return end(comm, "ncclCommDestroy"); });
    return ready;
  });
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  return ending_call("ncclCommAbort", comm, [comm] {
    if (!is_live(comm)) return check_ready(comm, "ncclCommAbort");
    comm->aborted = true;
    comm->jobs.clear();
    leave(*comm);
    sim::progress();
    group().endings.emplace_back([comm] { return end(comm, "ncclCommAbort"); });
    return ncclSuccess;
  });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError) {
  const sim::Turn turn;
  const ncclResult_t begun = begin("ncclCommGetAsyncError", 20400, true);
  if (begun != ncclSuccess) return begun;
  if (comm == nullptr || asyncError == nullptr)
    return fail(ncclInvalidArgument, "ncclCommGetAsyncError: null argument");
  if (!is_live(comm)) return check_ready(comm, "ncclCommGetAsyncError");
  poll(*comm);
  const auto& left = comm->clique->left;
  if (options().remote_errors && comm->error == ncclSuccess &&
      std::find(left.begin(), left.end(), true) != left.end())
    comm->error = ncclRemoteError;
  for (const AsyncError& error : options().async_errors)
    if (comm->error == ncclSuccess && error.rank == comm->owner && comm->polls >= error.from_poll)
      comm->error = error.error;
  ++comm->polls;
  *asyncError = comm->error != ncclSuccess ? comm->error
                : comm->jobs.empty()       ? ncclSuccess
                                           : ncclInProgress;
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  return simple_call("ncclCommCount", 20000, [&] {
    const ncclResult_t ready = check_ready(comm, "ncclCommCount");
    if (ready != ncclSuccess) return ready;
    if (count == nullptr) return fail(ncclInvalidArgument, "ncclCommCount: count is null");
    *count = comm->clique->size;
    return ncclSuccess;
  });
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  return ask("ncclCommCuDevice", comm, device, &ncclComm::device);
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  return ask("ncclCommUserRank", comm, rank, &ncclComm::rank);
}

}  // extern "C"
