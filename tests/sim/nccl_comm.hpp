// What the simulated NCCL knows: communicators, the cliques they are members of, operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <nccl.h>

#include "sim/nccl.hpp"

namespace sim::nccl {

struct Operation {
  Kind kind = Kind::all_gather;
  const void* send = nullptr;
  void* recv = nullptr;
  std::size_t count = 0;
  ncclDataType_t type = ncclFloat32;
  ncclRedOp_t op = ncclSum;
  int root = 0;  // of a send or receive: the peer
};
/// "all_gather of 4 float".
[[nodiscard]] std::string to_string(const Operation& operation);
[[nodiscard]] bool is_p2p(const Operation& operation);

/// One group of one communicator, as issued: what a graph bakes.
struct Launch {
  std::vector<Operation> operations;
  bool captured = false;
};
/// Of its collectives: "#7 all_gather of 4 float (captured)".
[[nodiscard]] std::string to_string(const Launch& launch, std::uint64_t number);

/// One execution of a launch by one rank.
struct Execution {
  std::shared_ptr<const Launch> launch;
  std::uint64_t serial = 0;             // among all launches of this rank
  std::uint64_t number = 0;             // among those with collectives
  std::vector<std::uint64_t> messages;  // of each send and receive: which one between the two ranks
  std::vector<bool> at_front;           // per stream of the group
  bool arrived = false;
  bool done = false;
  std::size_t operation = 0;  // where its output stands
  std::size_t element = 0;
};

using Bytes = std::vector<std::byte>;

/// All ranks' launches of one number.
struct Exchange {
  std::vector<std::shared_ptr<Execution>> at;  // by rank, once arrived
  std::vector<std::vector<Bytes>> inputs;      // by operation and rank, once all have arrived
  std::vector<int> order;                      // of summation
  int done = 0;
};
/// From, to, which of those between the two.
using MessageKey = std::tuple<int, int, std::uint64_t>;
struct Message {
  std::shared_ptr<Execution> sender, receiver;  // once arrived
  Operation send, receive;
  const ncclComm* from = nullptr;
  std::optional<Bytes> data;
  int done = 0;
};
struct Clique;
/// What all ranks call together on the host: splits, windows, finalize.
struct Meeting {
  struct Item {
    int color = 0, key = 0;
    std::size_t size = 0, offset = 0;
  };
  std::map<int, Item> items;                    // by rank
  std::map<int, std::shared_ptr<Clique>> made;  // by color: what came of it
};

/// A communicator as all its ranks share it.
struct Clique {
  int id = 0;
  int size = 0;
  std::vector<ncclComm_t> members;  // by rank; null before its call
  std::vector<bool> left;           // aborted, or destroyed
  std::vector<bool> ending;         // about to be either
  std::map<std::uint64_t, Exchange> exchanges;
  std::map<MessageKey, Message> messages;
  std::map<std::pair<std::string, std::uint64_t>, Meeting> meetings;  // by call, which
};

/// Something that a non-blocking communicator still does, and that a blocking one waits for.
struct Job {
  std::string name;
  std::function<std::optional<ncclResult_t>()> step;  // nothing: not yet
  std::function<std::string()> waits_for;
  std::uint64_t polls = 0;          // so many more say "in progress" without trying
  std::function<void()> undo = {};  // its group failed before it began
};

}  // namespace sim::nccl

/// The opaque type of <nccl.h>. Handles are never reused within a run.
struct ncclComm {
  std::shared_ptr<sim::nccl::Clique> clique;
  int rank = 0;
  int device = 0;
  int owner = -1;  // rank of the world
  bool blocking = true;
  bool destroyed = false;  // or aborted
  bool aborted = false;
  bool finalized = false;
  ncclResult_t error = ncclSuccess;  // what ncclCommGetAsyncError says; stays
  int polls = 0;
  std::deque<sim::nccl::Job> jobs;
  std::uint64_t issued = 0, completed = 0, collectives = 0;
  std::map<std::pair<bool, int>, std::uint64_t> messages;  // (sent?, peer): how many
  std::map<std::string, std::uint64_t> meetings;
  std::set<sim::nccl::Kind> warm;
  std::vector<std::weak_ptr<void>> captured;  // alive as long as a graph holds that launch
  std::map<void*, std::size_t> registered;    // handles and sizes
};

namespace sim::nccl {

// All of these need the baton.

[[nodiscard]] const Options& options();
/// Starts anew with each run.
[[nodiscard]] std::uint64_t run_number();
/// Notes why a call fails, for ncclGetLastError, and returns `result`.
ncclResult_t fail(ncclResult_t result, const std::string& why);
[[nodiscard]] const std::string& last_error();
/// "comm 1 rank 0 of 4".
[[nodiscard]] std::string name_of(const ncclComm& comm);

std::shared_ptr<Clique> new_clique(int size);
ncclComm_t new_comm(std::shared_ptr<Clique> clique, int rank, int device, int owner, bool blocking);
/// False for handles that were never given out or are gone.
[[nodiscard]] bool is_live(ncclComm_t comm);

/// A handle that is null, gone, failed or busy is an error, as in ncclCommEnsureReady. `poison`:
/// having been busy stays as the communicator's error, as after a collective.
ncclResult_t check_ready(ncclComm_t comm, const char* call, bool poison = false);
/// Blocking: does the jobs to their end. Else leaves them to polls and says ncclInProgress.
ncclResult_t start(std::vector<std::pair<ncclComm_t, Job>> jobs);
/// Does jobs that are due.
void poll(ncclComm& comm);

/// Arguments of one operation. Overlaps within it, and with others of its group, are violations.
ncclResult_t check_operation(const ncclComm& comm, const Operation& operation);
void check_overlap(const ncclComm& comm, const std::vector<Operation>& operations);
[[nodiscard]] std::size_t sent_bytes(const ncclComm& comm, const Operation& operation);
[[nodiscard]] std::size_t received_bytes(const ncclComm& comm, const Operation& operation);
[[nodiscard]] MessageKey message_key(const ncclComm& comm, const Operation& operation,
                                     std::uint64_t number);

/// Puts a group's launch on its streams.
ncclResult_t issue(ncclComm_t comm, std::shared_ptr<const Launch> launch,
                   const std::vector<cudaStream_t>& streams);
/// Has every rank that takes part arrived, with the same calls?
[[nodiscard]] bool matched(const ncclComm& comm, const Execution& execution);
[[nodiscard]] std::string waits_for(const ncclComm& comm, const Execution& execution);
/// Moves some of the data of a matched execution; true when that was the last of it.
bool move(ncclComm& comm, Execution& execution);
/// Ends an aborted one: what it would have received is undefined.
void poison(const ncclComm& comm, const Execution& execution);
/// Takes back what this rank has arrived for, so that its peers wait for ever.
void leave(ncclComm& comm);

void count_launch(const ncclComm& comm, const Launch& launch);

/// "ranks 1 2": who has not come to a meeting.
[[nodiscard]] std::string absent(const ncclComm& comm, const Meeting& meeting);

/// A T that starts anew with each run.
template <class T>
T& per_run() {
  static T value;
  static std::uint64_t run = 0;
  if (std::exchange(run, run_number()) != run_number()) value = T{};
  return value;
}

}  // namespace sim::nccl
