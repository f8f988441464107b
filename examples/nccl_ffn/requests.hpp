// The requests that run on one DP rank: they come and go, so that counts differ from rank to rank
// and from step to step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace nccl_ffn {

struct Request {
  std::int32_t id;
  std::int64_t position;
};

/// The same on all attention-TP ranks of a DP rank, which are given the same seed.
class Requests {
 public:
  Requests(std::uint64_t seed, int dp_rank, std::int64_t most)
      : random_(seed * 1000003 + static_cast<std::uint64_t>(dp_rank)),
        next_id_(dp_rank * 1000000),
        most_(static_cast<std::uint64_t>(most)) {}

  /// Those of the next step.
  std::span<const Request> next() {
    for (Request& request : running_) ++request.position;
    std::erase_if(running_, [this](const Request&) { return random_() % 16 == 0; });
    if (random_() % 64 == 0) running_.clear();  // idle for a while
    const std::uint64_t room = most_ - running_.size();
    const std::uint64_t more = std::min(room, random_() % (1 + most_ / 6));
    for (std::uint64_t i = 0; i < more; ++i)
      running_.push_back({next_id_++, static_cast<std::int64_t>(random_() % 4096)});
    return running_;
  }

 private:
  std::mt19937_64 random_;
  std::int32_t next_id_;
  std::uint64_t most_;
  std::vector<Request> running_;
};

}  // namespace nccl_ffn
