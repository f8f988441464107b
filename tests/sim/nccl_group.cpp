// Groups, and the operations in them. https://docs.nvidia.com/deeplearning/nccl/user-guide, "Group
// Calls".
#include "sim/nccl_group.hpp"

#include <algorithm>

#include "sim/nccl_data.hpp"

namespace sim::nccl {

Group& group() {
  static thread_local Group group;
  if (group.run != run_number()) group = Group();
  return group;
}

ncclResult_t begin(const char* name, int since, bool polls) {
  const Fault* const fault = polls ? poll_call(name) : call(name);
  if (fault != nullptr)
    return fail(static_cast<ncclResult_t>(fault->nccl), std::string(name) + ": injected error");
  if (options().version >= since) return ncclSuccess;
  violation(std::string(name) + " is not in NCCL " + std::to_string(options().version));
  return fail(ncclInvalidUsage, std::string(name) + " is newer than this NCCL");
}

namespace {

ncclResult_t launch(const Group::Operations& all) {
  if (all.operations.empty()) return ncclSuccess;
  auto baked = std::make_shared<Launch>();
  baked->operations = all.operations;
  baked->captured = all.captured;
  return issue(all.comm, std::move(baked), all.streams);
}

/// A non-blocking communicator's operations get to their streams whenever NCCL's thread is done.
Job later(Group::Operations all) {
  Job job;
  job.name = "a group of " + std::to_string(all.operations.size()) + " operations";
  job.step = [all = std::move(all)]() -> std::optional<ncclResult_t> {
    for (const cudaStream_t stream : all.streams)
      if (capturing(stream) != all.captured) {
        violation(
            "a capture began or ended before ncclCommGetAsyncError said that the operations "
            "on its stream are there");
        return ncclInvalidUsage;
      }
    return launch(all);
  };
  job.waits_for = [] { return std::string("a poll"); };
  return job;
}

bool mixed(const Group& group) {
  std::vector<bool> blocking;
  for (const auto& [comm, job] : group.jobs) blocking.push_back(comm->blocking);
  for (const auto& all : group.operations) blocking.push_back(all.comm->blocking);
  return std::adjacent_find(blocking.begin(), blocking.end(), std::not_equal_to<>()) !=
         blocking.end();
}

}  // namespace

ncclResult_t do_group() {
  Group now = std::exchange(group(), Group());
  if (now.error == ncclSuccess && mixed(now))
    now.error = fail(ncclInvalidArgument, "blocking and non-blocking communicators in one group");
  ncclResult_t result = now.error;
  bool in_progress = false;
  const auto note = [&](ncclResult_t r) {
    if (r == ncclInProgress)
      in_progress = true;
    else if (result == ncclSuccess)
      result = r;
  };
  if (result == ncclSuccess)
    note(start(std::move(now.jobs)));
  else
    for (const auto& [comm, job] : now.jobs)
      if (job.undo) job.undo();
  for (Group::Operations& all : now.operations) {
    if (result != ncclSuccess) {
      if (!all.comm->blocking && all.comm->error == ncclSuccess) all.comm->error = result;
    } else if (all.comm->blocking) {
      note(launch(all));
    } else {
      const ncclComm_t comm = all.comm;
      note(start({{comm, later(std::move(all))}}));
    }
  }
  for (const auto& ending : now.endings) note(ending());
  if (result != ncclSuccess) return result;
  return in_progress ? ncclInProgress : ncclSuccess;
}

namespace {

/// Groups are all captured by one graph or all eager; others are refused.
ncclResult_t add(ncclComm_t comm, const Operation& operation, cudaStream_t stream) {
  auto& all = group().operations;
  auto found = std::find_if(all.begin(), all.end(), [&](auto& o) { return o.comm == comm; });
  if (check_stream(stream) != cudaSuccess)
    return fail(ncclUnhandledCudaError, to_string(operation) + ": " + sim::name_of(stream) +
                                            " cannot be used: invalid, failed, or forbidden now");
  if (stream != nullptr && device_of(stream) != comm->device)
    return fail(ncclUnhandledCudaError, to_string(operation) + ": " + sim::name_of(stream) +
                                            " is of another device than " + name_of(*comm));
  const bool captured = capturing(stream);
  if (found == all.end()) {
    all.push_back({comm, {}, {}, captured});
    found = all.end() - 1;
  }
  if (found->captured != captured)
    return fail(ncclInvalidUsage, "the streams of a group must all be captured, or none");
  found->operations.push_back(operation);
  if (std::find(found->streams.begin(), found->streams.end(), stream) == found->streams.end())
    found->streams.push_back(stream);
  check_overlap(*comm, found->operations);
  return ncclSuccess;
}

ncclResult_t operate(const char* name, const Operation& operation, ncclComm_t comm,
                     cudaStream_t stream) {
  return group_call(name, 20700, [&]() -> ncclResult_t {
    const ncclResult_t ready = check_ready(comm, name, true);
    if (ready != ncclSuccess) return ready;
    if (comm->finalized)
      return fail(ncclInvalidUsage, std::string(name) + ": " + name_of(*comm) + " is finalized");
    const ncclResult_t checked = check_operation(*comm, operation);
    if (checked != ncclSuccess) return checked;
    // Discarded, and no barrier; a non-blocking communicator is still busy with it.
    if (operation.count > 0) return add(comm, operation, stream);
    if (!comm->blocking)
      group().jobs.emplace_back(comm,
                                Job{to_string(operation), [] { return std::optional(ncclSuccess); },
                                    [] { return std::string(); }});
    return ncclSuccess;
  });
}

}  // namespace
}  // namespace sim::nccl

using sim::nccl::Kind;
using sim::nccl::operate;

extern "C" {

ncclResult_t ncclGroupStart() {
  return sim::nccl::simple_call("ncclGroupStart", 20000, [] {
    ++sim::nccl::group().depth;
    return ncclSuccess;
  });
}

ncclResult_t ncclGroupEnd() {
  const sim::Turn turn;
  const ncclResult_t begun = sim::nccl::begin("ncclGroupEnd", 20000);
  sim::nccl::Group& group = sim::nccl::group();
  if (group.depth == 0) return sim::nccl::fail(ncclInvalidUsage, "ncclGroupEnd: not in a group");
  if (group.error == ncclSuccess) group.error = begun;
  if (--group.depth > 0) return begun;
  return sim::nccl::do_group();
}

ncclResult_t ncclAllGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                           ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  return operate("ncclAllGather",
                 {Kind::all_gather, sendbuff, recvbuff, sendcount, datatype, ncclSum, 0}, comm,
                 stream);
}

ncclResult_t ncclAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                           ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  return operate("ncclAllReduce", {Kind::all_reduce, sendbuff, recvbuff, count, datatype, op, 0},
                 comm, stream);
}

ncclResult_t ncclReduceScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                               ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t stream) {
  return operate("ncclReduceScatter",
                 {Kind::reduce_scatter, sendbuff, recvbuff, recvcount, datatype, op, 0}, comm,
                 stream);
}

ncclResult_t ncclBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                           ncclDataType_t datatype, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return operate("ncclBroadcast",
                 {Kind::broadcast, sendbuff, recvbuff, count, datatype, ncclSum, root}, comm,
                 stream);
}

ncclResult_t ncclBcast(void* buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm,
                       cudaStream_t stream) {
  return operate("ncclBcast", {Kind::broadcast, buff, buff, count, datatype, ncclSum, root}, comm,
                 stream);
}

ncclResult_t ncclReduce(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                        ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) {
  return operate("ncclReduce", {Kind::reduce, sendbuff, recvbuff, count, datatype, op, root}, comm,
                 stream);
}

ncclResult_t ncclSend(const void* sendbuff, size_t count, ncclDataType_t datatype, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return operate("ncclSend", {Kind::send, sendbuff, nullptr, count, datatype, ncclSum, peer}, comm,
                 stream);
}

ncclResult_t ncclRecv(void* recvbuff, size_t count, ncclDataType_t datatype, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return operate("ncclRecv", {Kind::recv, nullptr, recvbuff, count, datatype, ncclSum, peer}, comm,
                 stream);
}

}  // extern "C"
