// What one rank times in one run: bare barriers and agreements in turn, then agreements with work between
// post and wait.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <dpgather/agree/agreement.hpp>

#include "barriers.hpp"

namespace agree_latency {

/// A busy host step between post and wait.
struct Work {
  double us = 0;
  bool uneven = false;

  /// Of `rank` of `ranks`: uneven, the first has half, the last one and a half, the mean is the same.
  [[nodiscard]] double of(int rank, int ranks) const {
    return uneven ? us * (0.5 + static_cast<double>(rank) / (ranks - 1)) : us;
  }
};

struct Plan {
  int steps = 2000, warm_up = 200, work_steps = 300;
  std::vector<Work> works;

  // Series of samples: one for each barrier, the agreement, and two for each work.
  [[nodiscard]] std::size_t wait_series(std::size_t barriers, std::size_t work) const {
    return barriers + 1 + 2 * work;
  }
  [[nodiscard]] std::size_t series(std::size_t barriers) const {
    return wait_series(barriers, works.size());
  }
  [[nodiscard]] int most_steps() const { return std::max(steps, work_steps); }
};

/// Nanoseconds by series, rank and step, in memory that forked processes share. Zero: not measured.
class Samples {
 public:
  Samples(std::size_t series, int ranks, int steps)
      : ranks_(static_cast<std::size_t>(ranks)),
        steps_(static_cast<std::size_t>(steps)),
        count_(series * ranks_ * steps_) {
    void* memory = mmap(nullptr, count_ * sizeof(double), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no memory for the samples");
    data_ = static_cast<double*>(memory);
    std::fill_n(data_, count_, 0.0);  // touched, so that no page is missing while time is measured
  }
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;
  ~Samples() { munmap(data_, count_ * sizeof(double)); }

  [[nodiscard]] double* of(std::size_t series, int rank) const {
    return data_ + (series * ranks_ + static_cast<std::size_t>(rank)) * steps_;
  }
  /// Of all ranks.
  [[nodiscard]] std::vector<double> all(std::size_t series, int steps) const {
    std::vector<double> result;
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      const double* first = of(series, static_cast<int>(rank));
      result.insert(result.end(), first, first + steps);
    }
    return result;
  }
  /// The longest of each step.
  [[nodiscard]] std::vector<double> slowest(std::size_t series, int steps) const {
    std::vector<double> result(of(series, 0), of(series, 0) + steps);
    for (std::size_t rank = 1; rank < ranks_; ++rank)
      for (std::size_t step = 0; step < result.size(); ++step)
        result[step] = std::max(result[step], of(series, static_cast<int>(rank))[step]);
    return result;
  }
  [[nodiscard]] double* data() const { return data_; }
  [[nodiscard]] std::size_t count() const { return count_; }

 private:
  std::size_t ranks_, steps_, count_;
  double* data_ = nullptr;
};

using Clock = std::chrono::steady_clock;
[[nodiscard]] inline double ns(Clock::duration time) {
  return std::chrono::duration<double, std::nano>(time).count();
}

/// What rank `rank` posts in a step: told apart by rank and step, so that a stale record is found.
[[nodiscard]] inline std::int64_t tokens_of(int rank, std::int64_t step) {
  return 1 + (step * 31 + rank * 7) % 1000;
}
[[nodiscard]] inline dpgather::Phase phase_of(int rank, std::int64_t step) {
  const std::int64_t n = tokens_of(rank, step);
  return {.tokens = n, .requests = n, .logits = n, .forward = dpgather::Forward::decode};
}
inline void check(const dpgather::Step& step, int ranks) {
  for (int rank = 0; rank < ranks; ++rank)
    if (step.tokens()[static_cast<std::size_t>(rank)] != tokens_of(rank, step.index()))
      throw std::runtime_error("rank " + std::to_string(rank) + " was agreed to have " +
                               std::to_string(step.tokens()[static_cast<std::size_t>(rank)]) +
                               " tokens, it posted " +
                               std::to_string(tokens_of(rank, step.index())));
}

/// On every rank; fills this rank's samples.
template <dpgather::ControlPlane Control>
void measure(Control& control, const Barriers& barriers, const Plan& plan, const Samples& samples) {
  const int rank = control.rank(), ranks = control.size();
  dpgather::StepAgreement agreement(control, dpgather::DpLayout{.dp = ranks});
  const auto& together = barriers[0].pass;
  const std::size_t things = barriers.size() + 1;
  for (int step = -plan.warm_up; step < plan.steps; ++step)
    for (std::size_t k = 0; k < things; ++k) {  // in turn, so that noise meets all alike
      const std::size_t what = (k + static_cast<std::size_t>(step + plan.warm_up)) % things;
      const dpgather::Phase phase = phase_of(rank, agreement.next_step());
      Clock::duration took;
      together();
      if (what < barriers.size()) {
        const auto begun = Clock::now();
        barriers[what].pass();
        took = Clock::now() - begun;
      } else {
        const auto begun = Clock::now();
        agreement.post(phase);
        const dpgather::Step agreed = agreement.wait();
        took = Clock::now() - begun;
        check(agreed, ranks);
      }
      if (step >= 0) samples.of(what, rank)[step] = ns(took);
    }
  for (std::size_t w = 0; w < plan.works.size(); ++w) {
    const std::size_t series = plan.wait_series(barriers.size(), w);
    const auto length = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double, std::micro>(plan.works[w].of(rank, ranks)));
    for (int step = 0; step < plan.work_steps; ++step) {
      const dpgather::Phase phase = phase_of(rank, agreement.next_step());
      together();
      const auto begun = Clock::now();
      agreement.post(phase);
      const auto posted = Clock::now();
      auto worked = posted;
      while (worked - posted < length) worked = Clock::now();
      const dpgather::Step agreed = agreement.wait();
      const auto ended = Clock::now();
      check(agreed, ranks);
      samples.of(series, rank)[step] = ns(ended - worked);
      samples.of(series + 1, rank)[step] = ns(posted - begun + ended - worked);
    }
  }
}

}  // namespace agree_latency
