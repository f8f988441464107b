// A progress bar, for people only: nothing is shown unless stderr is a terminal.
#pragma once

#include <chrono>
#include <cstdint>

namespace serve_trace {

class Progress {
 public:
  /// `steps` or `rows`, whichever is reached first, is the end; 0 steps: no limit.
  Progress(std::int64_t steps, std::int64_t rows);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// Draws at most ten times a second.
  void update(std::int64_t steps, std::int64_t rows);

 private:
  using Clock = std::chrono::steady_clock;

  std::int64_t all_steps_, all_rows_;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

}  // namespace serve_trace
