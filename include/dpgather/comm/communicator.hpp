// The Communicator concept: typed collectives over the ranks of one group, on one memory space.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <dpgather/core/config.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/stream.hpp>

namespace dpgather {

/// What every communicator offers. Counts and offsets are in *elements*, the same on all ranks;
/// sums are over ranks in rank order, 16-bit floats accumulate in float where the transport allows.
///
/// | call | send | recv | in place |
/// |---|---|---|---|
/// | all_gather(send, recv, count, s) | [count] | [size * count] | send == recv + rank * count |
/// | all_reduce(send, recv, count, s) | [count] | [count] | send == recv |
/// | reduce_scatter(send, recv, count, s) | [size * count] | [count] | recv == send + rank * count |
/// | broadcast(data, count, root, s) | [count] on root | [count] | always |
/// | all_gather_v(send, recv, counts, offsets, s) | [counts[rank]] | block i at offsets[i] | send == recv + offsets[rank] |
/// | reduce_scatter_v(send, recv, counts, offsets, s) | block i at offsets[i] | [counts[rank]] | recv == send + offsets[rank] |
///
/// Every rank makes the same calls in the same order. Results are there in stream order; on a
/// capturing stream the call is recorded with its arguments (counts too) and runs at replay. Zero
/// counts are legal and pointers may then be null. Buffers are the caller's until the call is done
/// in stream order.
///
/// `group(f)` runs f; the calls in it complete together when it returns and must not depend on each
/// other. `split(color, key)` is collective: ranks of one color form a communicator, ordered by
/// (key, rank). `abort(reason)` frees every rank that waits, with an error; all later calls say so.
/// `check()` throws if the communicator has failed. `elements_moved()` counts elements this rank
/// received or read from ranks, its own included, since construction. `set_step` labels errors.
template <class C>
concept Communicator = MemorySpace<typename C::memory_type> &&
    requires(C& comm, const float* send, float* recv, std::int64_t count, Counts counts, int root,
             typename C::memory_type::stream_type stream, std::string_view reason, void (*work)()) {
  { C::checks } -> std::convertible_to<CheckLevel>;
  { comm.rank() } -> std::same_as<int>;
  { comm.size() } -> std::same_as<int>;
  comm.all_gather(send, recv, count, stream);
  comm.all_reduce(send, recv, count, stream);
  comm.reduce_scatter(send, recv, count, stream);
  comm.broadcast(recv, count, root, stream);
  comm.all_gather_v(send, recv, counts, counts, stream);
  comm.reduce_scatter_v(send, recv, counts, counts, stream);
  comm.group(work);
  { comm.split(root, root) } -> std::same_as<C>;
  comm.abort(reason);
  comm.check();
  comm.set_step(std::int64_t{});
  { comm.elements_moved() } -> std::same_as<std::uint64_t>;
};

/// One whose ranks may reach each other's memory. `peers_in_reach()`: whether they do, the same on all
/// ranks (of all FFN groups, where there are several) and for good; if not, of the calls below only
/// `note_moved` may be made, and `barrier` throws. An address of one rank's buffer is good on all, or
/// else the communicator offers `reach(data)`, collective: a pointer to what holds the `addresses()`,
/// [size], of the ranks' buffers, to be destroyed, collectively, before they are.
/// `barrier(s)`: no rank's later work on `s` begins before all ranks' earlier work is done, and what
/// that wrote is seen; it is recorded on a capturing stream. `stop_word()`: element work that
/// touches peers' memory must do nothing once it is set; null if that cannot be. `note_moved`
/// counts elements that such work moves.
template <class C>
concept PeerCommunicator = Communicator<C> &&
    requires(C& comm, typename C::memory_type::stream_type stream, std::int64_t elements) {
  { comm.peers_in_reach() } -> std::same_as<bool>;
  comm.barrier(stream);
  { comm.stop_word() } -> std::same_as<const std::uint32_t*>;
  comm.note_moved(elements);
};

}  // namespace dpgather
