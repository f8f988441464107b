// Random programs on random schedules give what ranks give one after another.
#include "thread_device/programs.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

using namespace thread_device;

namespace {

void run_seed(std::uint64_t seed) {
  support::Random random(seed);
  const int ranks = static_cast<int>(random.between(1, 5));
  const int devices = static_cast<int>(random.between(1, 3));
  const auto program = random_program(random, ranks);
  Model model(ranks);
  for (const Step& step : program) model.run(step);
  const auto schedule = static_cast<sim::Schedule>(random.between(0, 1));
  on_ranks({{.ranks = ranks, .devices = devices, .seed = seed, .schedule = schedule}},
           [&](Comm& comm, const Place& at) {
             Machine machine(comm, at);
             for (const Step& step : program) machine.run(step);
             for (int b = 0; b < buffers; ++b)
               same(machine.buffer(b).now(at.stream), model.at(at.rank, b),
                    concat("buffer ", b, ", seed ", seed));
           });
}

}  // namespace

TEST_CASE("random programs of eager calls, groups and graphs give the same on every schedule") {
  const std::uint64_t first = support::seed("programs on devices", 1);
  const char* const asked = std::getenv("DPGATHER_TEST_SEEDS");
  const std::uint64_t seeds = asked == nullptr ? 2000 : std::strtoull(asked, nullptr, 0);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    CAPTURE(seed);
    REQUIRE_NOTHROW(run_seed(seed));
  }
}
