// What one DP rank has to do in each step. Time is virtual, so every rank replays its own share of
// the trace and needs to hear nothing from the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include <dpgather/plan/forward.hpp>

#include "options.hpp"
#include "trace.hpp"

namespace serve_trace {

/// A request's rows in one step: `rows` tokens from position `first` on.
struct Segment {
  std::int64_t request = 0;  ///< index in the trace
  std::int64_t first = 0;
  std::int64_t rows = 0;

  /// Length of the sequence once these rows are in.
  [[nodiscard]] std::int64_t seq_len() const { return first + rows; }
};

/// A DP rank's batch of one step: decoding requests first, then those that prefill.
struct Work {
  std::vector<Segment> segments;
  std::int64_t decode_rows = 0;
  std::int64_t prefill_rows = 0;

  [[nodiscard]] std::int64_t rows() const { return decode_rows + prefill_rows; }
  [[nodiscard]] std::int64_t requests() const { return static_cast<std::int64_t>(segments.size()); }
  [[nodiscard]] dpgather::Forward forward() const;
};

/// Token rows that the whole trace comes to.
[[nodiscard]] std::int64_t rows_owed(const Trace& trace, Serve serve);

class RankReplay {
 public:
  /// `trace` must outlive the replay. Request i waits on DP rank i mod `options.ranks`.
  RankReplay(const Trace& trace, const Options& options, int dp_rank);

  /// Admits what has arrived by the next step, serves that step and returns its batch, which is
  /// valid until the next call. No rows: nothing waits or runs on this rank.
  const Work& next();
  /// Requests, of any rank, are yet to be admitted after the step that `next` returned.
  [[nodiscard]] bool live() const { return admitted_ < trace_->requests.size(); }
  /// Requests of all ranks admitted so far.
  [[nodiscard]] std::int64_t admitted() const { return static_cast<std::int64_t>(admitted_); }

 private:
  struct Running {
    std::int64_t request;
    std::int64_t position;  ///< of the next row
    std::int64_t to_go;     ///< rows it will still give
  };
  struct Waiting {
    std::int64_t request;
    std::int64_t done;  ///< context rows taken
  };

  void admit();
  void start_waiting();
  void decode();
  void prefill(std::int64_t running_before);
  [[nodiscard]] const Request& request(std::int64_t index) const {
    return trace_->requests[static_cast<std::size_t>(index)];
  }

  const Trace* trace_;
  Serve serve_;
  std::int64_t ranks_, dp_rank_, chunk_, max_running_, ticks_per_step_;
  std::int64_t now_ = 0;  ///< trace time of the next step
  std::size_t admitted_ = 0;
  std::deque<Waiting> waiting_;
  std::vector<Running> running_;
  Work work_;
};

}  // namespace serve_trace
