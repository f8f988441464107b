// Options, counters, and the state that starts anew with each run.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "sim/internal.hpp"
#include "sim/nccl_comm.hpp"
#include "sim/nccl_data.hpp"
#include "sim/nccl_memory.hpp"
#include "sim/world.hpp"

namespace sim::nccl {

namespace {

Options& chosen_options() {
  static Options options;
  return options;
}

struct State {
  std::uint64_t run = 1;
  bool running = false;
  std::vector<std::shared_ptr<ncclComm>> comms;
  int cliques = 0;
  std::string error = "no error";
  std::map<std::pair<int, Kind>, Count> counts;
  std::map<int, std::uint64_t> launches;
  std::vector<std::string> left;

  State() {
    on_reset([this] { reset(); });
  }

  /// At the start of a run, and at its end: counts and leftovers of a run stay until the next.
  void reset() {
    running = !running;
    if (running) {
      counts.clear();
      launches.clear();
      left.clear();
    } else {
      for (const auto& comm : comms)
        if (!comm->destroyed) left.push_back(name_of(*comm));
      for (std::string& line : left_of_memory()) left.push_back(std::move(line));
      Report& report = report_now();
      const auto& faults = sim::options().faults;
      const bool stops =
          std::any_of(faults.begin(), faults.end(), [](const Fault& f) { return f.stops; });
      if (report.deadlock.empty() && !stops)
        report.leaks.insert(report.leaks.end(), left.begin(), left.end());
    }
    ++run;
    comms.clear();
    cliques = 0;
    error = "no error";
  }
};

State& state() {
  static State state;
  return state;
}
// There before the first run.
[[maybe_unused]] const State& at_start = state();

}  // namespace

const char* name_of(Kind kind) {
  static const char* const names[] = {
      "all_gather", "all_reduce", "reduce_scatter", "broadcast", "reduce", "send", "recv"};
  return names[static_cast<std::size_t>(kind)];
}

WithOptions::WithOptions(Options options)
    : before_(std::exchange(chosen_options(), std::move(options))) {}
WithOptions::~WithOptions() {
  chosen_options() = std::move(before_);
}

const Options& options() {
  return chosen_options();
}
std::uint64_t run_number() {
  return state().run;
}

Count counted(int rank, Kind kind) {
  const Turn turn;
  const auto found = state().counts.find({rank, kind});
  return found == state().counts.end() ? Count{} : found->second;
}
std::uint64_t launches(int rank) {
  const Turn turn;
  const auto found = state().launches.find(rank);
  return found == state().launches.end() ? 0 : found->second;
}
std::vector<std::string> left_over() {
  const Turn turn;
  return state().left;
}

void count_launch(const ncclComm& comm, const Launch& launch) {
  const int rank = sim::rank();
  ++state().launches[rank];
  for (const Operation& operation : launch.operations) {
    Count& count = state().counts[{rank, operation.kind}];
    ++count.calls;
    count.bytes += operation.kind == Kind::send ? sent_bytes(comm, operation)
                                                : received_bytes(comm, operation);
  }
}

ncclResult_t fail(ncclResult_t result, const std::string& why) {
  state().error = why;
  return result;
}
const std::string& last_error() {
  return state().error;
}

std::string name_of(const ncclComm& comm) {
  return "comm " + std::to_string(comm.clique->id) + " rank " + std::to_string(comm.rank) + " of " +
         std::to_string(comm.clique->size);
}

std::shared_ptr<Clique> new_clique(int size) {
  auto clique = std::make_shared<Clique>();
  clique->id = ++state().cliques;
  clique->size = size;
  clique->members.resize(static_cast<std::size_t>(size));
  clique->left.resize(static_cast<std::size_t>(size));
  clique->ending.resize(static_cast<std::size_t>(size));
  return clique;
}

ncclComm_t new_comm(std::shared_ptr<Clique> clique, int rank, int device, int owner,
                    bool blocking) {
  auto comm = std::make_shared<ncclComm>();
  comm->clique = std::move(clique);
  comm->rank = rank;
  comm->device = device;
  comm->owner = owner;
  comm->blocking = blocking;
  state().comms.push_back(comm);
  return comm.get();
}

bool is_live(ncclComm_t comm) {
  for (const auto& known : state().comms)
    if (known.get() == comm) return !known->destroyed;
  return false;
}

ncclResult_t check_ready(ncclComm_t comm, const char* call, bool poison) {
  const std::string name = call;
  if (comm == nullptr) return fail(ncclInvalidArgument, name + ": comm is null");
  if (!is_live(comm)) {
    violation(name + ": the communicator is destroyed, aborted or of another run");
    return fail(ncclInvalidArgument, name + ": no communicator");
  }
  if (comm->error == ncclSuccess && comm->jobs.empty()) return ncclSuccess;
  if (comm->error != ncclSuccess)
    return fail(comm->error, name + ": " + name_of(*comm) + " has failed before");
  if (poison) comm->error = ncclInvalidArgument;
  return fail(ncclInvalidArgument, name + ": " + name_of(*comm) + " is used while " +
                                       comm->jobs.front().name +
                                       " is in progress; poll ncclCommGetAsyncError first");
}

ncclResult_t start(std::vector<std::pair<ncclComm_t, Job>> jobs) {
  if (jobs.empty()) return ncclSuccess;
  if (!jobs.front().first->blocking) {
    for (auto& [comm, job] : jobs) {
      job.polls = choose(static_cast<std::uint64_t>(options().polls) + 1);
      comm->jobs.push_back(std::move(job));
    }
    return ncclInProgress;
  }
  std::vector<std::optional<ncclResult_t>> results(jobs.size());
  const auto all_done = [&] {
    bool done = true;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (!results[i] && jobs[i].first->aborted) results[i] = ncclInternalError;  // by a thread
      if (!results[i]) results[i] = jobs[i].second.step();
      done = done && results[i];
    }
    return done;
  };
  const auto what = [&] {
    std::string text;
    for (std::size_t i = 0; i < jobs.size(); ++i)
      if (!results[i])
        text += (text.empty() ? "" : "; ") + jobs[i].second.name + " of " +
                name_of(*jobs[i].first) + ", waits for " + jobs[i].second.waits_for();
    return text;
  };
  if (!block_until(all_done, what)) return fail(ncclSystemError, "the simulation has ended");
  progress();
  for (const auto& result : results)
    if (*result != ncclSuccess) return *result;
  return ncclSuccess;
}

void poll(ncclComm& comm) {
  while (!comm.jobs.empty()) {
    Job& job = comm.jobs.front();
    if (job.polls > 0) {
      --job.polls;
      return;
    }
    const std::optional<ncclResult_t> result = job.step();
    if (!result) return;
    progress();
    if (*result != ncclSuccess && comm.error == ncclSuccess) comm.error = *result;
    comm.jobs.pop_front();
  }
}

}  // namespace sim::nccl
