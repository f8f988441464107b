// The simulated world that stands in for the CUDA runtime (and, in nccl*.cpp, for NCCL): who runs
// when, what time it is, what fails. One world a process; see docs/simulation.md.
//
// Rank threads are real threads of which only the holder of the *baton* runs. Every simulated call
// is a point where the baton may pass on, or where work of a device may run (on the thread that
// holds the baton). Same options, same schedule. Threads that a rank starts take part as well.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>

#include "support/allocations.hpp"

namespace sim {

/// When device work runs: `late` hardly before every thread waits, so that a missing dependency
/// shows; `random` any time; `eager` at once.
enum class Schedule { late, random, eager };

/// The `call`-th call of `rank` (from 0, all counted APIs) returns `cuda` or `nccl`, whichever it
/// is of, and has no effect; or it never returns and the rank `stops` for good.
struct Fault {
  int rank = 0;
  std::int64_t call = 0;
  int cuda = cudaErrorUnknown;
  int nccl = 1;  // ncclUnhandledCudaError
  bool stops = false;
};

struct Options {
  int ranks = 1;
  int devices = 1;
  std::uint64_t seed = 1;
  Schedule schedule = Schedule::late;
  std::vector<Fault> faults = {};
  /// Nothing but the clock moving for so long (virtual seconds) is a deadlock.
  double deadline_s = 7200;
  /// May device a access device b? All may if false is not asked for.
  bool peers = true;
  /// Or all but these pairs, in both directions.
  std::vector<std::pair<int, int>> apart = {};
  /// Host code that touches device memory ends the program with a message, where the processor has
  /// protection keys.
  bool guard_device_memory = true;
  /// What cudaMemGetInfo says is there, in bytes, on each device.
  std::size_t device_bytes = std::size_t{1} << 30;
};

enum class Count {
  kernel,
  copy,
  fill,
  memop,
  host_function,
  collective,
  launch,
  sync,
  allocation,
  event
};
inline constexpr std::size_t counts_number = 10;

struct RankReport {
  std::int64_t calls = 0;                           // counted calls, faults index these
  std::vector<const char*> log;                     // their names
  std::array<std::int64_t, counts_number> count{};  // what it asked for; [int(Count::kernel)]
  [[nodiscard]] std::int64_t operator[](Count c) const {
    return count[static_cast<std::size_t>(c)];
  }
};

struct Report {
  std::vector<RankReport> ranks;
  std::vector<std::string> leaks;       // what the ranks left behind: "allocation of 64 bytes ..."
  std::vector<std::string> violations;  // guard zones written, freed memory used, ...
  std::string deadlock;                 // empty if there was none
  double virtual_s = 0;
};

/// Nothing can go on: the text has a line a rank with the call it sits in, and what is at the front
/// of each stream. Blocked calls return an error, so that ranks unwind; `run` throws this in the end.
struct Deadlock : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Device memory was misused; thrown by `run` if no rank threw anything.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Runs `body(rank)` on each rank. Throws Deadlock, else what the first rank to throw of its own accord
/// threw (as dpgather::run_ranks: PeerError only if there is nothing else), else Violation. What the ranks left (streams, memory, work) is reported, then dropped.
Report run(const Options& options, const std::function<void(int)>& body);
/// Of the last run, also when it threw.
const Report& last_report();
const Options& options();

// ---- For the parts of the simulation itself. All of it needs the baton. ----

/// Takes the baton for the calling thread if it has none (a guest: no rank, outside a run).
/// Every entry point holds one. What it allocates is not the library's.
class Turn {
 public:
  Turn();
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  support::Uncounted own_;
  bool guest_;
};

/// Start of an API call: a scheduling point, counted and logged. If not null, return its error.
/// `name` must live forever.
const Fault* call(const char* name);
/// Start of a call that only asks (is it done?): `call`, and the rank is taken to be polling.
const Fault* poll_call(const char* name);
/// Lets others run until `done()`; `what()` is for the deadlock report. False if that will never
/// be: the world has come to its end, return an error.
bool block_until(const std::function<bool()>& done, const std::function<std::string()>& what);
/// This rank changed something that others may wait for.
void progress();
/// The rank that the calling thread belongs to, or -1. In device work: of the rank that issued it.
int rank();
/// For choices that the real thing leaves open: 0 to n - 1.
std::uint64_t choose(std::uint64_t n);
/// True one time in `n`.
bool one_in(std::uint64_t n);
/// A deadlock was declared, or this rank has stopped: every call fails and none blocks.
bool ended();
void count(Count what, int times = 1);
/// Misuse that real hardware may or may not survive. Also a sticky error of the device, if >= 0.
void violation(const std::string& what, int device = -1);
double now_s();
void advance(double seconds);

// ---- Work on streams. ----

/// One operation. Give `run`, or `slice` that does a part and returns true when that was the last.
struct Work {
  std::string name = {};
  Count kind = Count::kernel;
  /// Asked (often) while the work is the first of its stream; may note "this rank has arrived".
  std::function<bool()> ready = {};
  std::function<void()> run = {};
  std::function<bool()> slice = {};
  /// For the deadlock report: "waits for ranks 0, 2".
  std::function<std::string()> waits_for = {};
  /// When (by now_s) `ready` is worth asking again though nothing else happens; it has a deadline.
  std::function<double()> until = {};
  /// Host issue: called on each copy at once when enqueued eagerly, and at every launch of a graph
  /// (on a copy of the captured work, in the order of capture). May set the fields above.
  std::function<void(Work&)> on_launch = {};
  int rank = -1;  // filled in by enqueue
  /// A graph holds it as long as it has this work: for counting live graphs.
  std::shared_ptr<void> hold = {};
};

/// Is this stream capturing?
bool capturing(cudaStream_t stream);
/// cudaSuccess, or why nothing can be enqueued here (invalid handle, invalidated capture, legacy
/// default stream during a capture, ...).
cudaError_t check_stream(cudaStream_t stream);
/// Appends `work` to the stream, or to its capture as a node. Checks the stream first.
cudaError_t enqueue(cudaStream_t stream, Work work);
/// The device that a stream belongs to (streams 0 and per-thread: the current one).
int device_of(cudaStream_t stream);
int current_device();
/// "stream 2 of device 0".
std::string name_of(cudaStream_t stream);
/// Is [pointer, pointer + bytes) inside one live allocation? `device` gets its device, -1: pinned.
bool is_device_accessible(const void* pointer, std::size_t bytes, int* device = nullptr);
/// The current thread may touch device memory until this goes. Device work has one already.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};
/// Called at the start and at the end of each run, to forget what the last one left.
void on_reset(std::function<void()> reset);

}  // namespace sim
