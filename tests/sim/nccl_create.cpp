// How communicators come to be: unique ids, initialisation, splits. NCCL user guide, "Creating a
// Communicator".
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>

#include "sim/nccl_data.hpp"
#include "sim/nccl_group.hpp"

namespace sim::nccl {
namespace {

/// What the ranks of a unique id have agreed so far.
struct Bootstrap {
  std::shared_ptr<Clique> clique;
  std::vector<std::string> strangers;  // that do not fit, and keep all from starting
  int arrived = 0;
};
std::map<std::string, Bootstrap>& bootstraps() {
  return per_run<std::map<std::string, Bootstrap>>();
}

bool blocking_of(const ncclConfig_t* config, bool otherwise) {
  return config == nullptr || config->blocking == NCCL_CONFIG_UNDEF_INT ? otherwise
                                                                        : config->blocking == 1;
}

ncclResult_t check_config(const ncclConfig_t* config, const std::string& call) {
  if (config == nullptr) return ncclSuccess;
  if (config->magic != 0xcafebeef)
    return fail(ncclInvalidArgument, call + ": config is not made with NCCL_CONFIG_INITIALIZER");
  if (config->blocking != NCCL_CONFIG_UNDEF_INT && config->blocking != 0 && config->blocking != 1)
    return fail(ncclInvalidArgument,
                call + ": blocking is " + std::to_string(config->blocking) + ", not 0 or 1");
  if (config->minCTAs != NCCL_CONFIG_UNDEF_INT && config->maxCTAs != NCCL_CONFIG_UNDEF_INT &&
      config->minCTAs > config->maxCTAs)
    return fail(ncclInvalidArgument, call + ": minCTAs exceeds maxCTAs");
  return ncclSuccess;
}

/// Several ranks on one device: refused, until 2.30 with an environment variable set.
ncclResult_t check_devices(const Clique& clique) {
  const char* const allow = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  if (options().version >= 23000 && allow != nullptr && std::string(allow) == "1")
    return ncclSuccess;
  std::map<int, int> rank_of;
  for (const ncclComm_t member : clique.members) {
    const auto [other, fresh] = rank_of.emplace(member->device, member->rank);
    if (!fresh)
      return fail(ncclInvalidUsage, "ncclCommInitRank: ranks " + std::to_string(other->second) +
                                        " and " + std::to_string(member->rank) +
                                        " are both on device " + std::to_string(member->device));
  }
  return ncclSuccess;
}

Job initialisation(ncclComm_t comm, ncclComm_t* out, const std::string& id) {
  Job job;
  job.name = "ncclCommInitRank";
  job.step = [comm, out, id]() -> std::optional<ncclResult_t> {
    const Bootstrap& bootstrap = bootstraps()[id];
    if (!bootstrap.strangers.empty() || bootstrap.arrived < comm->clique->size) return std::nullopt;
    const ncclResult_t result = check_devices(*comm->clique);
    if (result != ncclSuccess && comm->blocking) {
      *out = nullptr;
      comm->destroyed = true;
    }
    return result;
  };
  job.undo = [comm, out, id] {
    const auto rank = static_cast<std::size_t>(comm->rank);
    if (comm->clique->members[rank] == comm) --bootstraps()[id].arrived;
    comm->clique->members[rank] = nullptr;
    comm->destroyed = true;
    *out = nullptr;
  };
  job.waits_for = [comm, id] {
    const Bootstrap& bootstrap = bootstraps()[id];
    std::string text = "ranks";
    for (int r = 0; r < comm->clique->size; ++r)
      if (comm->clique->members[static_cast<std::size_t>(r)] == nullptr)
        text += " " + std::to_string(r);
    for (const std::string& stranger : bootstrap.strangers) text += "; " + stranger;
    return text;
  };
  return job;
}

ncclResult_t init(const char* call, ncclComm_t* out, int nranks, const ncclUniqueId& id, int rank,
                  const ncclConfig_t* config) {
  const std::string name = call;
  if (out == nullptr) return fail(ncclInvalidArgument, name + ": comm is null");
  if (nranks < 1 || rank < 0 || rank >= nranks)
    return fail(ncclInvalidArgument,
                name + ": rank " + std::to_string(rank) + " of " + std::to_string(nranks));
  const ncclResult_t good = check_config(config, name);
  if (good != ncclSuccess) return good;
  if (sim::options().devices == 0) return fail(ncclUnhandledCudaError, name + ": no device");
  const std::string key(id.internal, sizeof id.internal);
  Bootstrap& bootstrap = bootstraps()[key];
  if (!bootstrap.clique) bootstrap.clique = new_clique(nranks);
  if (bootstrap.arrived == bootstrap.clique->size)
    return fail(ncclSystemError, name + ": the unique id has been used before");
  auto& members = bootstrap.clique->members;
  const bool fits =
      nranks == bootstrap.clique->size && members[static_cast<std::size_t>(rank)] == nullptr;
  const ncclComm_t comm = new_comm(fits ? bootstrap.clique : new_clique(nranks), rank,
                                   current_device(), sim::rank(), blocking_of(config, true));
  if (fits) {
    members[static_cast<std::size_t>(rank)] = comm;
    ++bootstrap.arrived;
  } else {
    bootstrap.strangers.push_back("another call says rank " + std::to_string(rank) + " of " +
                                  std::to_string(nranks));
  }
  *out = comm;
  progress();
  group().jobs.emplace_back(comm, initialisation(comm, out, key));
  return ncclSuccess;
}

/// The members of one color, by key and then rank.
std::vector<int> ranks_of(const Meeting& meeting, int color) {
  std::vector<int> ranks;
  for (const auto& [rank, item] : meeting.items)
    if (item.color == color) ranks.push_back(rank);
  std::stable_sort(ranks.begin(), ranks.end(),
                   [&](int a, int b) { return meeting.items.at(a).key < meeting.items.at(b).key; });
  return ranks;
}

void make_child(ncclComm_t comm, Meeting& meeting, bool blocking, ncclComm_t* out) {
  const int color = meeting.items[comm->rank].color;
  if (color == NCCL_SPLIT_NOCOLOR) return;
  const std::vector<int> ranks = ranks_of(meeting, color);
  std::shared_ptr<Clique>& clique = meeting.made[color];
  if (!clique) clique = new_clique(static_cast<int>(ranks.size()));
  const int rank =
      static_cast<int>(std::find(ranks.begin(), ranks.end(), comm->rank) - ranks.begin());
  *out = new_comm(clique, rank, comm->device, comm->owner, blocking);
  clique->members[static_cast<std::size_t>(rank)] = *out;
  if (!blocking) {  // goes on for a while after the parent is done
    Job rest{"ncclCommSplit", [] { return std::optional(ncclSuccess); },
             [] { return std::string("a poll"); }};
    static_cast<void>(start({{*out, std::move(rest)}}));
  }
}

Job splitting(ncclComm_t comm, int color, int key, bool blocking, ncclComm_t* out) {
  const std::uint64_t number = comm->meetings["ncclCommSplit"]++;
  const auto meeting = [comm, number]() -> Meeting& {
    return comm->clique->meetings[{"ncclCommSplit", number}];
  };
  meeting().items[comm->rank] = {color, key, 0, 0};
  Job job;
  job.name = "ncclCommSplit";
  job.step = [comm, meeting, blocking, out]() -> std::optional<ncclResult_t> {
    if (meeting().items.size() != static_cast<std::size_t>(comm->clique->size)) return std::nullopt;
    make_child(comm, meeting(), blocking, out);
    return ncclSuccess;
  };
  job.waits_for = [comm, meeting] { return absent(*comm, meeting()); };
  return job;
}

}  // namespace
}  // namespace sim::nccl

using namespace sim::nccl;

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId) {
  return simple_call("ncclGetUniqueId", 20000, [&] {
    if (uniqueId == nullptr) return fail(ncclInvalidArgument, "ncclGetUniqueId: id is null");
    static std::uint64_t ids = 0;
    ++ids;
    std::memset(uniqueId->internal, 0, sizeof uniqueId->internal);
    std::memcpy(uniqueId->internal, &ids, sizeof ids);
    uniqueId->internal[sizeof uniqueId->internal - 1] = 'i';  // all 128 bytes count
    return ncclSuccess;
  });
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank,
                                    ncclConfig_t* config) {
  return group_call("ncclCommInitRankConfig", 21400, [&] {
    return init("ncclCommInitRankConfig", comm, nranks, commId, rank, config);
  });
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank) {
  return group_call("ncclCommInitRank", 20000,
                    [&] { return init("ncclCommInitRank", comm, nranks, commId, rank, nullptr); });
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* newcomm,
                           ncclConfig_t* config) {
  const ncclResult_t result = group_call("ncclCommSplit", 21800, [&] {
    const ncclResult_t ready = check_ready(comm, "ncclCommSplit");
    if (ready != ncclSuccess) return ready;
    if (newcomm == nullptr) return fail(ncclInvalidArgument, "ncclCommSplit: newcomm is null");
    if (color < 0 && color != NCCL_SPLIT_NOCOLOR)
      return fail(ncclInvalidArgument, "ncclCommSplit: color " + std::to_string(color) +
                                           " is negative and not NCCL_SPLIT_NOCOLOR");
    const ncclResult_t good = check_config(config, "ncclCommSplit");
    if (good != ncclSuccess) return good;
    if (comm->finalized) return fail(ncclInvalidUsage, "ncclCommSplit: finalized");
    *newcomm = nullptr;
    const bool blocking = blocking_of(config, comm->blocking);
    group().jobs.emplace_back(comm, splitting(comm, color, key, blocking, newcomm));
    return ncclSuccess;
  });
  // Seen on real non-blocking communicators: success, and the state says that it is in progress.
  const sim::Turn turn;
  return result == ncclInProgress && sim::one_in(2) ? ncclSuccess : result;
}

}  // extern "C"
