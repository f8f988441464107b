#include "progress.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace serve_trace {

Progress::Progress(std::int64_t steps, std::int64_t rows)
    : all_steps_(steps), all_rows_(rows), shown_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::update(std::int64_t steps, std::int64_t rows) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  const auto share_of = [](std::int64_t done, std::int64_t all) {
    return all == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(all);
  };
  const double share =
      std::min(1.0, std::max(share_of(steps, all_steps_), share_of(rows, all_rows_)));
  constexpr int width = 30;
  const auto filled = static_cast<std::size_t>(share * width);
  const double seconds = std::chrono::duration<double>(now - start_).count();
  fmt::print(stderr, "\r\x1b[K[{:-<{}}] {:3.0f} %  step {}, {} rows, {:.0f} steps/s",
             fmt::format("{:=<{}}", "", filled), width, share * 100, steps, rows,
             seconds > 0 ? static_cast<double>(steps) / seconds : 0.0);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace serve_trace
