// Random programs of streams and events, eager and captured: they run in an order that CUDA allows,
// and not always in the same one.
#include <bitset>
#include <random>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include "sim/world.hpp"
#include "support/seed.hpp"

namespace {

constexpr int max_works = 24;
using Works = std::bitset<max_works>;

/// What a program enqueues, kept with what must be done before each piece of work.
class Program {
 public:
  Program(std::vector<cudaStream_t> streams, int legacy, std::uint64_t seed)
      : streams_(std::move(streams)), legacy_(legacy), random_(seed), done_(streams_.size()) {
    events_.resize(3);
    marked_.resize(3);
    for (auto& event : events_) REQUIRE(cudaEventCreate(&event) == cudaSuccess);
  }
  ~Program() {
    for (auto event : events_) cudaEventDestroy(event);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void add_random() {
    const auto s = below(streams_.size()), e = below(3);
    switch (below(4)) {
      case 0:
        return record(e, s);
      case 1:
        return wait(s, e);
      default:
        return work(s);
    }
  }
  void record(std::size_t e, std::size_t s) {
    REQUIRE(cudaEventRecord(events_[e], streams_[s]) == cudaSuccess);
    marked_[e] = end_of(s);
  }
  void wait(std::size_t s, std::size_t e) {
    REQUIRE(cudaStreamWaitEvent(streams_[s], events_[e], 0) == cudaSuccess);
    done_[s] |= marked_[e];
  }
  void work(std::size_t s) {
    const std::size_t i = before_.size();
    if (i == max_works) return;
    before_.push_back(end_of(s));
    REQUIRE(sim::enqueue(streams_[s], {.name = "work", .run = [this, i] { ran_.push_back(i); }}) ==
            cudaSuccess);
    done_[s] = before_[i];
    done_[s].set(i);
  }

  /// The order in which it ran, which must be one of those allowed, once each; `times` over, one
  /// after the other.
  std::vector<std::size_t> check(std::size_t times = 1) {
    int wrong = 0;
    Works seen;
    for (std::size_t at = 0; at < ran_.size(); ++at) {
      if (at % before_.size() == 0) seen.reset();
      const std::size_t i = ran_[at];
      wrong += (before_[i] & ~seen).any() || seen[i] ? 1 : 0;
      seen.set(i);
    }
    CHECK(wrong == 0);
    CHECK(ran_.size() == times * before_.size());
    return ran_;
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }
  /// All that the stream's next work comes after. The stream `legacy_` is the default stream, the
  /// others then are blocking ones.
  [[nodiscard]] Works end_of(std::size_t s) const {
    Works all = done_[s];
    for (std::size_t other = 0; other < done_.size(); ++other)
      if (legacy_ >= 0 && (static_cast<int>(s) == legacy_ || static_cast<int>(other) == legacy_))
        all |= done_[other];
    return all;
  }

  std::vector<cudaStream_t> streams_;
  int legacy_;
  std::mt19937_64 random_;
  std::vector<Works> done_;
  std::vector<cudaEvent_t> events_;
  std::vector<Works> marked_;
  std::vector<Works> before_;
  std::vector<std::size_t> ran_;
};

std::vector<cudaStream_t> new_streams(std::size_t n, unsigned flags) {
  std::vector<cudaStream_t> streams(n);
  for (auto& stream : streams) REQUIRE(cudaStreamCreateWithFlags(&stream, flags) == cudaSuccess);
  return streams;
}

}  // namespace

TEST_SUITE("simulation: order") {
  TEST_CASE("random programs of streams and events keep every order that CUDA promises") {
    const auto first = support::seed("order of streams", 1);
    std::set<std::vector<std::size_t>> orders;
    for (std::uint64_t seed = first; seed < first + 300; ++seed) {
      const bool with_default = seed % 2 == 0;
      const auto schedule = static_cast<sim::Schedule>(seed % 3);
      CAPTURE(seed);
      sim::run({.seed = seed, .schedule = schedule}, [&](int) {
        auto streams = new_streams(3, with_default ? cudaStreamDefault : cudaStreamNonBlocking);
        if (with_default) streams.push_back(nullptr);
        Program program(streams, with_default ? 3 : -1, seed / 10);
        for (int i = 0; i < 40; ++i) program.add_random();
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        orders.insert(program.check());
      });
    }
    CHECK(orders.size() > 200);
  }

  TEST_CASE("captured, they keep it at every launch") {
    const auto first = support::seed("order of graphs", 1);
    std::set<std::vector<std::size_t>> orders;
    for (std::uint64_t seed = first; seed < first + 200; ++seed) {
      CAPTURE(seed);
      sim::run({.seed = seed}, [&](int) {
        const auto streams = new_streams(3, cudaStreamNonBlocking);
        Program program(streams, -1, seed / 10);
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t exec = nullptr;
        CHECK(cudaStreamBeginCapture(streams[0], cudaStreamCaptureModeThreadLocal) == cudaSuccess);
        for (std::size_t e = 0; e < 3; ++e) program.record(e, 0);
        for (std::size_t s = 1; s < 3; ++s) program.wait(s, 0);
        for (int i = 0; i < 40; ++i) program.add_random();
        for (std::size_t s = 1; s < 3; ++s) program.record(s, s);
        for (std::size_t s = 1; s < 3; ++s) program.wait(0, s);
        program.work(0);
        CHECK(cudaStreamEndCapture(streams[0], &graph) == cudaSuccess);
        CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
        for (const cudaStream_t stream : streams)
          CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        orders.insert(program.check(streams.size()));
      });
    }
    CHECK(orders.size() > 150);
  }
}
