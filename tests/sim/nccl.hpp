// The NCCL half of the simulation, as tests see it: options, counters, injected errors. The calls
// themselves are those of <nccl.h>.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nccl.h>

namespace sim::nccl {

enum class Kind { all_gather, all_reduce, reduce_scatter, broadcast, reduce, send, recv };
inline constexpr int kinds = 7;
[[nodiscard]] const char* name_of(Kind kind);

/// From its poll number `from_poll` on (0 is the first), ncclCommGetAsyncError of this rank of the
/// world says `error`, and calls on that communicator return it.
struct AsyncError {
  int rank = 0;
  int from_poll = 0;
  ncclResult_t error = ncclRemoteError;
};

struct Options {
  /// What ncclGetVersion says. A call that this version does not have is reported.
  int version = NCCL_VERSION_CODE;
  /// Sums in another order each time: NCCL promises none.
  bool reorder_sums = false;
  /// Once a rank has aborted, its peers' ncclCommGetAsyncError says ncclRemoteError, as over a
  /// network; without it they only wait, as within one host.
  bool remote_errors = false;
  /// ncclCommDestroy and ncclCommAbort return once all ranks have called either, as some versions do
  /// for ranks of one process.
  bool ends_together = false;
  /// false: ncclCommWindowRegister succeeds with a null window, as where peers cannot map memory.
  bool windows = true;
  /// Longest that a non-blocking call stays in progress, in polls, once all ranks have called.
  int polls = 3;
  std::vector<AsyncError> async_errors = {};
};

/// Options for as long as it lives, to be made outside sim::run.
class WithOptions {
 public:
  explicit WithOptions(Options options);
  WithOptions(const WithOptions&) = delete;
  WithOptions& operator=(const WithOptions&) = delete;
  ~WithOptions();

 private:
  Options before_;
};

/// What a rank issued in the last run (captured operations: at each launch of the graph). A group
/// counts as one launch. `bytes` are those of the recvbuff; of the sendbuff for send.
struct Count {
  std::uint64_t calls = 0;
  std::uint64_t bytes = 0;
};
[[nodiscard]] Count counted(int rank, Kind kind);
[[nodiscard]] std::uint64_t launches(int rank);

/// Of the last run: communicators neither destroyed nor aborted, windows not taken back; one line
/// each. Also among the leaks of sim::Report.
[[nodiscard]] std::vector<std::string> left_over();

/// Of a live window: the offset of its buffer in the allocation of each rank.
[[nodiscard]] std::vector<std::size_t> offsets(ncclWindow_t window);

}  // namespace sim::nccl
