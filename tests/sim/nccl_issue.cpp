// Launches on streams: their order, when they have arrived, whether all ranks made the same calls.
#include <algorithm>
#include <utility>

#include "sim/nccl_comm.hpp"
#include "sim/nccl_data.hpp"
#include "sim/world.hpp"

namespace sim::nccl {

namespace {

bool has_collectives(const Launch& launch) {
  return !std::all_of(launch.operations.begin(), launch.operations.end(), is_p2p);
}

bool same(const Operation& a, const Operation& b) {
  return a.kind == b.kind && a.count == b.count && a.type == b.type && a.op == b.op &&
         a.root == b.root;
}

/// Whether a launch is captured has to be the same on all ranks as well.
bool same_collectives(const Launch& a, const Launch& b) {
  std::vector<Operation> of_a, of_b;
  for (const Operation& x : a.operations)
    if (!is_p2p(x)) of_a.push_back(x);
  for (const Operation& x : b.operations)
    if (!is_p2p(x)) of_b.push_back(x);
  return a.captured == b.captured &&
         std::equal(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(), same);
}

/// At host issue: the next of this rank's launches. The ranks' launches of one number meet.
std::shared_ptr<Execution> next_execution(ncclComm& comm, std::shared_ptr<const Launch> launch,
                                          std::size_t streams) {
  auto execution = std::make_shared<Execution>();
  execution->serial = comm.issued++;
  if (has_collectives(*launch)) execution->number = comm.collectives++;
  for (const Operation& operation : launch->operations)
    execution->messages.push_back(
        is_p2p(operation) ? comm.messages[{operation.kind == Kind::send, operation.root}]++ : 0);
  execution->launch = std::move(launch);
  execution->at_front.resize(streams);
  return execution;
}

void arrive(const ncclComm& comm, const std::shared_ptr<Execution>& execution) {
  execution->arrived = true;
  Clique& clique = *comm.clique;
  if (has_collectives(*execution->launch)) {
    Exchange& exchange = clique.exchanges[execution->number];
    exchange.at.resize(static_cast<std::size_t>(clique.size));
    exchange.at[static_cast<std::size_t>(comm.rank)] = execution;
  }
  for (std::size_t i = 0; i < execution->messages.size(); ++i) {
    const Operation& operation = execution->launch->operations[i];
    if (!is_p2p(operation)) continue;
    Message& message = clique.messages[message_key(comm, operation, execution->messages[i])];
    if (operation.kind == Kind::send) {
      message.sender = execution;
      message.send = operation;
      message.from = &comm;
    } else {
      message.receiver = execution;
      message.receive = operation;
    }
  }
}

bool matches(const Message& message) {
  return message.sender && message.receiver && message.send.count == message.receive.count &&
         message.send.type == message.receive.type &&
         message.sender->launch->captured == message.receiver->launch->captured;
}

/// Of the work on stream `stream` of a group: the first stream moves the data, the others wait.
bool ready(ncclComm& comm, const std::shared_ptr<Execution>& execution, std::size_t stream) {
  if (execution->done) return true;
  if (comm.aborted) return true;
  execution->at_front[stream] = true;
  if (comm.completed != execution->serial) return false;
  const auto& at_front = execution->at_front;
  if (!std::all_of(at_front.begin(), at_front.end(), [](bool at) { return at; })) return false;
  if (!execution->arrived) arrive(comm, execution);
  return stream == 0 && matched(comm, *execution);
}

bool run(ncclComm& comm, Execution& execution, std::size_t stream) {
  if (execution.done || stream != 0) return true;
  if (comm.aborted)
    poison(comm, execution);
  else if (!move(comm, execution))
    return false;
  execution.done = true;
  ++comm.completed;
  return true;
}

}  // namespace

MessageKey message_key(const ncclComm& comm, const Operation& operation, std::uint64_t number) {
  if (operation.kind == Kind::send) return {comm.rank, operation.root, number};
  return {operation.root, comm.rank, number};
}

bool matched(const ncclComm& comm, const Execution& execution) {
  Clique& clique = *comm.clique;
  const Launch& launch = *execution.launch;
  if (has_collectives(launch)) {
    const Exchange& exchange = clique.exchanges[execution.number];
    if (exchange.inputs.empty())  // else the data are there already
      for (const auto& peer : exchange.at)
        if (!peer || !same_collectives(launch, *peer->launch)) return false;
  }
  for (std::size_t i = 0; i < execution.messages.size(); ++i) {
    const Operation& operation = launch.operations[i];
    if (!is_p2p(operation)) continue;
    const Message& message = clique.messages[message_key(comm, operation, execution.messages[i])];
    if (!message.data && !matches(message)) return false;
  }
  return true;
}

std::string waits_for(const ncclComm& comm, const Execution& execution) {
  Clique& clique = *comm.clique;
  const Launch& launch = *execution.launch;
  if (comm.completed != execution.serial)
    return "earlier work of " + name_of(comm) + " on another stream";
  std::string text;
  if (has_collectives(launch)) {
    const Exchange& exchange = clique.exchanges[execution.number];
    for (int r = 0; r < clique.size && exchange.inputs.empty(); ++r) {
      const auto i = static_cast<std::size_t>(r);
      const std::string rank = "rank " + std::to_string(r);
      if (!text.empty()) text += "; ";
      if (i < exchange.at.size() && exchange.at[i])
        text += rank + ": " + to_string(*exchange.at[i]->launch, execution.number);
      else
        text += rank + (clique.left[i] ? ": has left" : ": has not come");
    }
  }
  for (std::size_t i = 0; i < execution.messages.size(); ++i) {
    const Operation& operation = launch.operations[i];
    if (!is_p2p(operation)) continue;
    const Message& message = clique.messages[message_key(comm, operation, execution.messages[i])];
    if (message.data || matches(message)) continue;
    const bool sends = operation.kind == Kind::send;
    const auto& peer = sends ? message.receiver : message.sender;
    if (!text.empty()) text += "; ";
    text += "rank " + std::to_string(comm.rank) + ": " + to_string(operation) + ", rank " +
            std::to_string(operation.root) + ": " +
            (peer ? to_string(sends ? message.receive : message.send) : "has not come");
  }
  return text;
}

ncclResult_t issue(ncclComm_t comm, std::shared_ptr<const Launch> launch,
                   const std::vector<cudaStream_t>& streams) {
  for (const cudaStream_t stream : streams)
    if (check_stream(stream) != cudaSuccess)
      return fail(ncclUnhandledCudaError, "cannot enqueue on " + sim::name_of(stream));
  for (const Operation& operation : launch->operations) {
    if (!launch->captured)
      comm->warm.insert(operation.kind);
    else if (comm->warm.count(operation.kind) == 0)
      violation(to_string(operation) + " of " + name_of(*comm) +
                " is captured before that kind ran eagerly once: it may allocate");
  }
  const std::shared_ptr<void> hold = launch->captured ? std::make_shared<int>() : nullptr;
  if (hold) comm->captured.push_back(hold);
  // The first stream's work makes the execution at each launch; that of the others finds it.
  auto latest = std::make_shared<std::shared_ptr<Execution>>();
  // The handle's memory lives as long as the run, which is longer than work on streams does.
  for (std::size_t i = 0; i < streams.size(); ++i) {
    Work work;
    work.kind = sim::Count::collective;
    work.hold = hold;
    work.name = "nccl of " + name_of(*comm);
    work.on_launch = [comm, launch, latest, i, n = streams.size()](Work& self) {
      if (i == 0) {
        if (comm->destroyed)
          violation("a graph is launched that holds operations of " + name_of(*comm) +
                    ", which is gone");
        *latest = next_execution(*comm, launch, n);
        count_launch(*comm, *launch);
      }
      const std::shared_ptr<Execution> execution = *latest;
      const Operation& first = launch->operations.front();
      self.name = to_string(first) + (launch->operations.size() > 1 ? " and others" : "") +
                  " of comm " + std::to_string(comm->clique->id);
      self.ready = [comm, execution, i] { return ready(*comm, execution, i); };
      self.slice = [comm, execution, i] { return run(*comm, *execution, i); };
      self.waits_for = [comm, execution] { return waits_for(*comm, *execution); };
    };
    const cudaError_t error = enqueue(streams[i], std::move(work));
    if (error != cudaSuccess)
      return fail(ncclUnhandledCudaError, "cannot enqueue on " + sim::name_of(streams[i]));
  }
  return ncclSuccess;
}

void leave(ncclComm& comm) {
  Clique& clique = *comm.clique;
  clique.left[static_cast<std::size_t>(comm.rank)] = true;
  for (auto& [number, exchange] : clique.exchanges)
    if (exchange.inputs.empty() && !exchange.at.empty())
      exchange.at[static_cast<std::size_t>(comm.rank)] = nullptr;
  for (auto& [key, message] : clique.messages) {
    if (message.data) continue;
    if (std::get<0>(key) == comm.rank) message.sender = nullptr;
    if (std::get<1>(key) == comm.rank) message.receiver = nullptr;
  }
}

}  // namespace sim::nccl
