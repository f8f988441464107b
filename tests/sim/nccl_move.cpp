// Data of operations that all ranks have arrived for. The inputs of all ranks are read at once; then
// each rank writes its output when its turn comes, in parts, so that ranks end at different times.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "sim/nccl_comm.hpp"
#include "sim/nccl_data.hpp"
#include "sim/world.hpp"

namespace sim::nccl {

namespace {

std::size_t index(int rank) {
  return static_cast<std::size_t>(rank);
}

/// What a rank sends, as it is now. Memory that is gone since the call reads as NaN.
Bytes read(const ncclComm& comm, const Operation& operation) {
  const std::size_t bytes = sent_bytes(comm, operation);
  Bytes data(bytes, std::byte{0xff});
  if (bytes == 0) return data;
  if (is_device_accessible(operation.send, bytes))
    std::memcpy(data.data(), operation.send, bytes);
  else
    violation(to_string(operation) + " of " + name_of(comm) + " reads freed memory", comm.device);
  return data;
}

void read_inputs(Clique& clique, Exchange& exchange, const Launch& launch) {
  exchange.order.resize(index(clique.size));
  std::iota(exchange.order.begin(), exchange.order.end(), 0);
  if (options().reorder_sums)
    for (std::size_t i = exchange.order.size(); i > 1; --i)
      std::swap(exchange.order[i - 1], exchange.order[static_cast<std::size_t>(choose(i))]);
  exchange.inputs.resize(launch.operations.size());
  std::vector<std::size_t> at(index(clique.size));  // the ranks may group p2p differently
  for (std::size_t i = 0; i < launch.operations.size(); ++i) {
    if (is_p2p(launch.operations[i])) continue;
    for (int r = 0; r < clique.size; ++r) {
      const std::vector<Operation>& operations = exchange.at[index(r)]->launch->operations;
      std::size_t& next = at[index(r)];
      while (is_p2p(operations[next])) ++next;
      exchange.inputs[i].push_back(read(*clique.members[index(r)], operations[next++]));
    }
  }
}

MessageKey key_of(const ncclComm& comm, const Execution& execution, std::size_t i) {
  return message_key(comm, execution.launch->operations[i], execution.messages[i]);
}
Message& message_of(const ncclComm& comm, const Execution& execution, std::size_t i) {
  return comm.clique->messages[key_of(comm, execution, i)];
}

/// Elements [first, last) of the output, which has been checked to be there.
void write(const ncclComm& comm, const Operation& operation, const std::vector<Bytes>& inputs,
           const std::vector<int>& order, std::size_t first, std::size_t last) {
  const std::size_t size = size_of(operation.type);
  std::byte* const out = static_cast<std::byte*>(operation.recv);
  if (operation.kind == Kind::all_gather) {
    for (std::size_t i = first; i < last; ++i)
      std::memcpy(out + i * size, inputs[i / operation.count].data() + i % operation.count * size,
                  size);
  } else if (operation.kind == Kind::broadcast || operation.kind == Kind::recv) {
    const Bytes& from = inputs[operation.kind == Kind::recv ? 0 : index(operation.root)];
    std::memcpy(out + first * size, from.data() + first * size, (last - first) * size);
  } else {
    const std::size_t offset =
        operation.kind == Kind::reduce_scatter ? index(comm.rank) * operation.count : 0;
    std::vector<const std::byte*> from;
    for (const int r : order) from.push_back(inputs[index(r)].data() + (offset + first) * size);
    reduce(from, out + first * size, last - first, operation.type, operation.op);
  }
}

}  // namespace

bool move(ncclComm& comm, Execution& execution) {
  Clique& clique = *comm.clique;
  const Launch& launch = *execution.launch;
  const bool collective = !std::all_of(launch.operations.begin(), launch.operations.end(), is_p2p);
  Exchange* const exchange = collective ? &clique.exchanges[execution.number] : nullptr;
  if (exchange && exchange->inputs.empty()) read_inputs(clique, *exchange, launch);
  for (std::size_t i = 0; i < launch.operations.size(); ++i) {
    if (!is_p2p(launch.operations[i])) continue;
    Message& message = message_of(comm, execution, i);
    if (!message.data) message.data = read(*message.from, message.send);
  }
  while (execution.operation < launch.operations.size()) {
    const Operation& operation = launch.operations[execution.operation];
    const std::size_t bytes = received_bytes(comm, operation);
    const std::size_t elements = bytes / size_of(operation.type);
    if (bytes > 0 && !is_device_accessible(operation.recv, bytes)) {
      violation(to_string(operation) + " of " + name_of(comm) + " writes freed memory",
                comm.device);
    } else if (execution.element < elements) {
      const std::size_t rest = elements - execution.element;
      const std::size_t part = one_in(2) ? rest : 1 + static_cast<std::size_t>(choose(rest));
      const std::size_t last = execution.element + part;
      if (operation.kind == Kind::recv) {
        const std::vector<Bytes> inputs{*message_of(comm, execution, execution.operation).data};
        write(comm, operation, inputs, {}, execution.element, last);
      } else {
        write(comm, operation, exchange->inputs[execution.operation], exchange->order,
              execution.element, last);
      }
      execution.element = last;
      if (last < elements) return false;
    }
    ++execution.operation;
    execution.element = 0;
  }
  if (exchange && ++exchange->done == clique.size) clique.exchanges.erase(execution.number);
  for (std::size_t i = 0; i < launch.operations.size(); ++i) {
    if (!is_p2p(launch.operations[i])) continue;
    if (++message_of(comm, execution, i).done == 2)
      clique.messages.erase(key_of(comm, execution, i));
  }
  return true;
}

void poison(const ncclComm& comm, const Execution& execution) {
  for (const Operation& operation : execution.launch->operations) {
    const std::size_t bytes = received_bytes(comm, operation);
    if (bytes > 0 && is_device_accessible(operation.recv, bytes))
      std::memset(operation.recv, 0xff, bytes);
  }
}

}  // namespace sim::nccl
