// Measure, agree and serve between processes. Every rank runs every case.
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/comm/mpi.hpp>
#include <dpgather/dpgather.hpp>

#include "support/seed.hpp"

using namespace dpgather;

namespace {

constexpr std::int64_t H = 7, most = 40;

/// Whether all ranks say the same number.
bool alike(MpiControl& control, std::uint64_t mine) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(control.size()));
  control.post(std::as_bytes(std::span(&mine, 1)));
  control.wait(std::as_writable_bytes(std::span(all)));
  for (const std::uint64_t other : all)
    if (other != mine) return false;
  return true;
}

}  // namespace

TEST_CASE("processes measure one table, and rows are right both ways by whatever it chooses") {
  MpiComm<> comm;
  MpiControl control;
  const DpLayout layout{.dp = comm.size()};
  const GatherConfig config{.layout = layout, .hidden = H, .max_local_rows = most};
  const Measurement measured =
      measure_transports(comm, control, config, {}, {.budget = {.seconds = 0.3}});
  CHECK(alike(control, measured.table.fingerprint()));
  CHECK(alike(control, measured.sizes.size()));
  measured.table.check();
  CHECK(measured.table.of(Transport::max_len).has_value());
  CHECK(measured.table.of(Transport::sum_len_all_reduce).has_value());
  CHECK(measured.table.of(Transport::sum_len_all_gather_v).has_value());
  CHECK(!measured.table.of(Transport::sum_len_peer_store));

  DpGather<Auto<MeasuredRule>, float, MpiComm<>> gather(comm, config,
                                                        {MeasuredRule(measured.table)});
  StepAgreement agreement(control, layout, {.policy = gather.fingerprint()});
  support::Random random(support::seed("measured rule over MPI", 95));
  const auto value = [](int step, int dp, std::int64_t k) {
    return static_cast<float>(step * 2000 + dp * 300 + static_cast<int>(k));
  };
  std::int64_t wrong = 0;
  for (int i = 0; i < 100; ++i) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(layout.dp));
    const bool even = random.chance(30), sparse = random.chance(50);
    const std::int64_t base = random.between(0, most);
    for (auto& n : counts)
      n = even ? base : sparse && random.chance(60) ? 0 : random.between(0, most);
    const std::int64_t n = counts[static_cast<std::size_t>(comm.rank())];
    agreement.post(
        {.tokens = n, .requests = n, .forward = n > 0 ? Forward::decode : Forward::idle});
    const Step step = agreement.wait();
    const ShapeKey shape = gather.exact_shape(step);
    gather.begin_step(step, shape, {});
    std::vector<float> mine(static_cast<std::size_t>(most * H)), back(mine.size(), -1);
    for (std::int64_t k = 0; k < n * H; ++k)
      mine[static_cast<std::size_t>(k)] = value(i, comm.rank(), k);
    const Rows<const float> all = gather.gather(shape, Rows<const float>(mine.data(), n, H), {});
    const Rows<float> partial = gather.partial_slot(shape);
    for (std::int64_t k = 0; k < partial.size(); ++k) partial.data()[k] = 0;
    for (int d = 0; d < layout.dp; ++d)
      for (std::int64_t k = 0; k < counts[static_cast<std::size_t>(d)] * H; ++k) {
        const std::int64_t row = gather.counts().offsets[d] + k / H;
        wrong += all(row, k % H) != value(i, d, k) ? 1 : 0;
        partial(row, k % H) = static_cast<float>((comm.rank() + 1) * (d + 1));
      }
    gather.reduce_scatter(shape, partial, Rows<float>(back.data(), n, H), {});
    const int ranks = comm.size();
    const auto sum = static_cast<float>(ranks * (ranks + 1) / 2 * (comm.rank() + 1));
    for (std::int64_t k = 0; k < n * H; ++k)
      wrong += back[static_cast<std::size_t>(k)] != sum ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(gather.choices()[ChoiceReason::least_time] > 0);
  CHECK(gather.choices()[ChoiceReason::least_time] +
            gather.choices()[ChoiceReason::within_margin] ==
        100);
}

TEST_CASE("a rank whose clock stops fails the measurement on all") {
  MpiComm<> comm;
  MpiControl control;
  const GatherConfig config{.layout = {.dp = comm.size()}, .hidden = H, .max_local_rows = most};
  int looks = 0;
  const auto clock = [&]() -> double {
    if (comm.rank() == 1 && ++looks > 20) throw std::runtime_error("the clock stopped");
    return SteadySeconds{}();
  };
  bool failed = false;
  try {
    (void)measure_transports(comm, control, config, {}, {}, clock);
  } catch (const std::exception& error) {
    failed = std::string(error.what()).find("the clock stopped") != std::string::npos;
    if (!failed) MESSAGE("another error: ", error.what());
  }
  CHECK(failed);
}
