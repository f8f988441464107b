#include "replay.hpp"

#include <algorithm>

namespace serve_trace {

dpgather::Forward Work::forward() const {
  using dpgather::Forward;
  if (prefill_rows == 0) return decode_rows == 0 ? Forward::idle : Forward::decode;
  return decode_rows == 0 ? Forward::extend : Forward::mixed;
}

std::int64_t rows_owed(const Trace& trace, Serve serve) {
  std::int64_t rows = 0;
  for (const Request& request : trace.requests)
    rows += serve == Serve::decode ? request.generated : request.context + request.generated - 1;
  return rows;
}

RankReplay::RankReplay(const Trace& trace, const Options& options, int dp_rank)
    : trace_(&trace),
      serve_(options.serve),
      ranks_(options.ranks),
      dp_rank_(dp_rank),
      chunk_(options.chunk),
      max_running_(options.max_running),
      ticks_per_step_(options.step_ms * options.speedup * ticks_per_ms) {}

const Work& RankReplay::next() {
  work_.segments.clear();
  work_.decode_rows = work_.prefill_rows = 0;
  admit();
  const auto running_before = static_cast<std::int64_t>(running_.size());
  if (serve_ == Serve::decode) start_waiting();
  decode();
  if (serve_ == Serve::mixed) prefill(running_before);
  return work_;
}

void RankReplay::admit() {
  if (!live()) return;
  for (; live() && trace_->requests[admitted_].arrival <= now_; ++admitted_) {
    const auto index = static_cast<std::int64_t>(admitted_);
    if (index % ranks_ == dp_rank_) waiting_.push_back({.request = index, .done = 0});
  }
  now_ += ticks_per_step_;
}

/// The decode instance gets requests whose prefill was done elsewhere.
void RankReplay::start_waiting() {
  for (; !waiting_.empty() && static_cast<std::int64_t>(running_.size()) < max_running_;
       waiting_.pop_front()) {
    const std::int64_t index = waiting_.front().request;
    running_.push_back(
        {.request = index, .position = request(index).context, .to_go = request(index).generated});
  }
}

void RankReplay::decode() {
  for (Running& running : running_) {
    work_.segments.push_back({.request = running.request, .first = running.position++, .rows = 1});
    --running.to_go;
  }
  work_.decode_rows = work_.requests();
  std::erase_if(running_, [](const Running& running) { return running.to_go == 0; });
}

/// From the head of the queue while the chunk lasts. A request whose context ends in this step
/// gives its first token here, so that one fewer is to go from the next step on.
void RankReplay::prefill(std::int64_t running_before) {
  std::int64_t budget = chunk_ - work_.decode_rows;
  std::int64_t free_slots = max_running_ - running_before;
  while (!waiting_.empty() && budget > 0 && free_slots > 0) {
    Waiting& head = waiting_.front();
    const Request& asked = request(head.request);
    const std::int64_t rows = std::min(asked.context - head.done, budget);
    work_.segments.push_back({.request = head.request, .first = head.done, .rows = rows});
    work_.prefill_rows += rows;
    budget -= rows;
    head.done += rows;
    if (head.done < asked.context) break;  // the chunk ended inside this context
    if (asked.generated > 1)
      running_.push_back(
          {.request = head.request, .position = asked.context, .to_go = asked.generated - 1});
    waiting_.pop_front();
    --free_slots;
  }
}

}  // namespace serve_trace
