// Times every transport of a communicator at start-up, for MeasuredRule.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/plan/cost_table.hpp>
#include <dpgather/plan/fit_cost.hpp>
#include <dpgather/transport_timer.hpp>
#include <dpgather/tune/measure_budget.hpp>

namespace dpgather {

struct MeasureOptions {
  MeasureBudget budget = {};
  double seconds_per_row = 0;  ///< of the FFN, for every row of its buffer: into the table
};

/// One size, as all ranks have it.
struct MeasuredSize {
  Transport transport = Transport::max_len;
  bool one_hot = false;   ///< all rows on the first DP rank of each FFN group
  std::int64_t rows = 0;  ///< of every rank, or of the one that has any
  int repetitions = 0;
  CostSample sample = {};  ///< bytes of the FFN's buffer; of each rank's median the slowest
};

struct Measurement {
  CostTable table = {};
  std::vector<MeasuredSize> sizes = {};
  double seconds = 0;  ///< that it took, on the slowest rank
};

namespace detail {

struct AgreedTimes {
  double once = 0, elapsed = 0;
};

/// Of the slowest rank, each.
template <ControlPlane Control>
[[nodiscard]] AgreedTimes slowest(Control& control, const AgreedTimes& own) {
  std::vector<AgreedTimes> all(static_cast<std::size_t>(control.size()));
  control.post(std::as_bytes(std::span(&own, 1)));
  control.wait(std::as_writable_bytes(std::span(all)));
  AgreedTimes most;
  for (const AgreedTimes& times : all) {
    most.once = std::max(most.once, times.once);
    most.elapsed = std::max(most.elapsed, times.elapsed);
  }
  return most;
}

/// Rank 0's, so that a table is the same to the last bit on machines that round differently.
template <ControlPlane Control>
[[nodiscard]] CostTable of_rank_0(Control& control, const CostTable& own) {
  static_assert(std::is_trivially_copyable_v<CostTable> && sizeof(CostTable) <= 1024,
                "a record of the control plane");
  std::vector<std::byte> all(sizeof(CostTable) * static_cast<std::size_t>(control.size()));
  control.post(std::as_bytes(std::span(&own, 1)));
  control.wait(all);
  CostTable table;
  std::memcpy(static_cast<void*>(&table), all.data(), sizeof(CostTable));
  return table;
}

/// Goes through all sizes, the smallest of all transports first. Whatever decides how it goes on is
/// agreed, so that ranks never part.
template <class Timer, ControlPlane Control, class Clock>
class TransportSweep {
 public:
  TransportSweep(Timer& timer, Control& control, Clock& clock, double begun,
                 const MeasureBudget& budget)
      : timer_(timer), control_(control), clock_(clock), begun_(begun), budget_(budget) {}

  /// `buffer_rows(transport, one_hot, rows)` are the rows of the FFN's buffer.
  template <class BufferRows>
  [[nodiscard]] std::vector<MeasuredSize> run(const std::vector<std::int64_t>& ladder,
                                              double row_bytes, const BufferRows& buffer_rows) {
    std::vector<Line> lines;
    for (std::size_t i = 0; i < transport_count; ++i)
      for (const bool one_hot : {false, true})
        if (const auto transport = static_cast<Transport>(i); timer_.can(transport))
          lines.push_back({transport, one_hot});
    std::vector<MeasuredSize> sizes;
    auto cells = static_cast<std::int64_t>(lines.size() * ladder.size());
    constexpr std::size_t always = 2;  // two points make a line
    for (std::size_t rung = 0; rung < ladder.size(); ++rung)
      for (Line& line : lines) {
        MeasuredSize size{line.transport, line.one_hot, ladder[rung]};
        size.sample.bytes =
            row_bytes * static_cast<double>(buffer_rows(size.transport, size.one_hot, size.rows));
        // Time grows no faster than bytes, but where caches overflow.
        const double expected = line.bytes > 0 ? line.once * size.sample.bytes / line.bytes : 0;
        line.open = line.open && (rung < always || budget_.allows(expected, elapsed_));
        if (line.open) {
          measure(size, rung == 0, cells);
          line.once = size.sample.seconds;
          line.bytes = size.sample.bytes;
          sizes.push_back(size);
        }
        --cells;
      }
    return sizes;
  }
  [[nodiscard]] double elapsed() const { return elapsed_; }

 private:
  struct Line {
    Transport transport;
    bool one_hot;
    bool open = true;  ///< its last size was not too slow
    double once = 0, bytes = 0;
  };

  void measure(MeasuredSize& size, bool first, std::int64_t cells) {
    timer_.prepare(size.transport, size.one_hot, size.rows);
    if (first) (void)timer_.run();  // libraries connect at a first call
    const AgreedTimes trial = agreed(timer_.run());
    size.repetitions = budget_.repetitions(trial.once, trial.elapsed, cells);
    times_.clear();
    for (int i = 0; i < size.repetitions; ++i) times_.push_back(timer_.run());
    const auto middle = times_.begin() + static_cast<std::ptrdiff_t>(times_.size() / 2);
    std::nth_element(times_.begin(), middle, times_.end());
    size.sample.seconds = agreed(*middle).once;
  }
  AgreedTimes agreed(double own) {
    const AgreedTimes times = slowest(control_, {own, clock_() - begun_});
    elapsed_ = times.elapsed;
    return times;
  }

  Timer& timer_;
  Control& control_;
  Clock& clock_;
  double begun_, elapsed_ = 0;
  MeasureBudget budget_;
  std::vector<double> times_;
};

}  // namespace detail

/// Times gather and reduce_scatter, eagerly, by every transport that `ffn` and `config` can do, from
/// one row to the most that fit the buffers, with equally many rows on all ranks and with all on
/// one; what the slowest rank took (of each rank's median) is fitted. Sizes that would go beyond the
/// budget are left out and extrapolated; the two smallest are measured always.
///
/// Collective over the world of `config.layout`: `control` is over all of it, `ffn` over this rank's
/// FFN group, and all groups measure at a time, as they will run. The table is the same on all
/// ranks. Nothing else may use either of the two, or `stream`, meanwhile. It needs the memory of a
/// DpGather and two local buffers more, until it returns, and counts in `ffn.elements_moved()`.
/// Throws InvalidArgument before anything is changed; when it fails later, it aborts `ffn` and
/// `control`, so that no rank is left waiting.
template <Element T = float, Communicator Comm, ControlPlane Control,
          SecondsClock Clock = SteadySeconds>
[[nodiscard]] Measurement measure_transports(Comm& ffn, Control& control,
                                             const GatherConfig& config,
                                             typename Comm::memory_type::stream_type stream = {},
                                             const MeasureOptions& options = {}, Clock clock = {}) {
  const double begun = clock();
  const ErrorContext where{.rank = control.rank(), .operation = "measure_transports"};
  const DpLayout& layout = config.layout;
  GatherConfig own = config.settled(ExactLen{}, ffn.rank(), ffn.size());
  own.axis = RowAxis::tokens;
  own.phase = 0;
  options.budget.check();
  detail::check_cost(options.seconds_per_row, "seconds_per_row", where);
  require(control.size() == layout.world(), where, "the control plane has ", control.size(),
          " ranks, the layout ", layout.world());
  const std::int64_t most = std::min(own.max_local_rows, own.max_global_rows / layout.group_dp());
  require(most >= layout.attn_tp, where, "max_global_rows is ", own.max_global_rows,
          ", must be at least ", layout.group_world(), " to measure MAX_LEN");

  using Timer = detail::TransportTimer<T, Comm, Clock>;
  std::optional<Timer> timer;  // outlives the handler: its peers must know before it waits for them
  try {
    timer.emplace(ffn, own, control.rank(), stream, clock);
    detail::TransportSweep<Timer, Control, Clock> sweep(*timer, control, clock, begun,
                                                        options.budget);
    Measurement result{.table = {.row_bytes = own.hidden * static_cast<std::int64_t>(sizeof(T)),
                                 .group_dp = layout.group_dp(),
                                 .seconds_per_row = options.seconds_per_row}};
    const auto buffer_rows = [&](Transport transport, bool one_hot, std::int64_t rows) {
      return one_hot && transport != Transport::max_len ? rows : rows * layout.group_dp();
    };
    result.sizes =
        sweep.run(options.budget.ladder(layout.attn_tp, most / layout.attn_tp * layout.attn_tp),
                  static_cast<double>(result.table.row_bytes), buffer_rows);
    timer->status();
    for (std::size_t i = 0; i < transport_count; ++i) {
      std::array<std::vector<CostSample>, 2> samples;
      for (const MeasuredSize& size : result.sizes)
        if (size.transport == static_cast<Transport>(i))
          samples[size.one_hot ? 1 : 0].push_back(size.sample);
      if (!samples[0].empty()) result.table.costs[i] = {fit_cost(samples[0]), fit_cost(samples[1])};
    }
    result.table = detail::of_rank_0(control, result.table);
    result.seconds = detail::slowest(control, {0, clock() - begun}).elapsed;
    ffn.set_step(-1);
    return result;
  } catch (const std::exception& error) {
    ffn.abort(error.what());
    control.abort(error.what());
    throw;
  }
}

}  // namespace dpgather
