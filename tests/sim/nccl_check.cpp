// Arguments of operations: what they mean in bytes, and which are wrong.
#include <cstdint>

#include "sim/nccl_comm.hpp"
#include "sim/nccl_data.hpp"
#include "sim/world.hpp"

namespace sim::nccl {

namespace {

/// What an operation reads or writes on this rank.
struct Range {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
  [[nodiscard]] bool meets(const Range& other) const {
    return bytes > 0 && other.bytes > 0 && begin < other.begin + other.bytes &&
           other.begin < begin + bytes;
  }
};

Range sent(const ncclComm& comm, const Operation& operation) {
  return {reinterpret_cast<std::uintptr_t>(operation.send), sent_bytes(comm, operation)};
}
Range received(const ncclComm& comm, const Operation& operation) {
  return {reinterpret_cast<std::uintptr_t>(operation.recv), received_bytes(comm, operation)};
}

bool has_root(Kind kind) {
  return kind == Kind::broadcast || kind == Kind::reduce;
}
bool reduces(Kind kind) {
  return kind == Kind::all_reduce || kind == Kind::reduce_scatter || kind == Kind::reduce;
}

/// Where the sendbuff has to be for the operation to be in place.
std::uintptr_t in_place(const ncclComm& comm, const Operation& operation, const Range& from,
                        const Range& to) {
  const auto rank = static_cast<std::uintptr_t>(comm.rank);
  switch (operation.kind) {
    case Kind::all_gather:
      return to.begin + rank * from.bytes;
    case Kind::reduce_scatter:
      return to.begin - rank * to.bytes;
    default:
      return to.begin;
  }
}

std::string where(const ncclComm& comm, const Operation& operation) {
  return to_string(operation) + " of " + name_of(comm);
}

}  // namespace

bool is_p2p(const Operation& operation) {
  return operation.kind == Kind::send || operation.kind == Kind::recv;
}

std::string to_string(const Operation& operation) {
  std::string text = std::string(name_of(operation.kind)) + " of " +
                     std::to_string(operation.count) + " " + name_of(operation.type);
  if (reduces(operation.kind)) text += std::string(" ") + name_of(operation.op);
  if (has_root(operation.kind)) text += " root " + std::to_string(operation.root);
  if (is_p2p(operation))
    text += (operation.kind == Kind::send ? " to " : " from ") + std::to_string(operation.root);
  return text;
}

std::string to_string(const Launch& launch, std::uint64_t number) {
  std::string text = "#" + std::to_string(number);
  const char* before = " ";
  for (const Operation& operation : launch.operations)
    if (!is_p2p(operation)) text += std::exchange(before, " + ") + to_string(operation);
  return launch.captured ? text + " (captured)" : text;
}

std::size_t sent_bytes(const ncclComm& comm, const Operation& operation) {
  const std::size_t bytes = operation.count * size_of(operation.type);
  switch (operation.kind) {
    case Kind::reduce_scatter:
      return bytes * static_cast<std::size_t>(comm.clique->size);
    case Kind::broadcast:
      return operation.root == comm.rank ? bytes : 0;
    case Kind::recv:
      return 0;
    default:
      return bytes;
  }
}

std::size_t received_bytes(const ncclComm& comm, const Operation& operation) {
  const std::size_t bytes = operation.count * size_of(operation.type);
  switch (operation.kind) {
    case Kind::all_gather:
      return bytes * static_cast<std::size_t>(comm.clique->size);
    case Kind::reduce:
      return operation.root == comm.rank ? bytes : 0;
    case Kind::send:
      return 0;
    default:
      return bytes;
  }
}

ncclResult_t check_operation(const ncclComm& comm, const Operation& operation) {
  const std::string text = where(comm, operation);
  if (operation.root < 0 || operation.root >= comm.clique->size)
    return fail(ncclInvalidArgument, text + ": no such rank");
  if (size_of(operation.type) == 0) return fail(ncclInvalidArgument, text + ": no such type");
  if (reduces(operation.kind) &&
      (operation.op < 0 || operation.op > ncclAvg || !reducible(operation.type)))
    return fail(ncclInvalidArgument, text + ": no such reduction");
  for (const bool output : {false, true}) {
    const Range range = output ? received(comm, operation) : sent(comm, operation);
    const auto* const pointer = output ? operation.recv : operation.send;
    int device = -1;
    if (range.bytes == 0) continue;
    const char* const name = output ? "recvbuff" : "sendbuff";
    if (!is_device_accessible(pointer, range.bytes, &device))
      return fail(ncclInvalidArgument, text + ": " + name + " is not " +
                                           std::to_string(range.bytes) + " bytes of device memory");
    if (device >= 0 && device != comm.device)
      return fail(ncclInvalidArgument, text + ": " + name + " is on device " +
                                           std::to_string(device) + ", the communicator on " +
                                           std::to_string(comm.device));
  }
  return ncclSuccess;
}

void check_overlap(const ncclComm& comm, const std::vector<Operation>& operations) {
  const Operation& last = operations.back();
  const Range from = sent(comm, last);
  const Range to = received(comm, last);
  if (from.meets(to) && from.begin != in_place(comm, last, from, to))
    violation(where(comm, last) + ": sendbuff and recvbuff overlap and are not in place");
  for (std::size_t i = 0; i + 1 < operations.size(); ++i) {
    const Operation& other = operations[i];
    if (to.meets(sent(comm, other)) || to.meets(received(comm, other)) ||
        from.meets(received(comm, other)))
      violation(where(comm, last) + " writes what " + to_string(other) +
                " of the same group uses, or the other way round");
  }
}

}  // namespace sim::nccl
