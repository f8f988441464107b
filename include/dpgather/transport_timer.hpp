// Runs a gather and its way back by a given transport, and says how long this rank took.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <dpgather/agree/step.hpp>
#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/dp_gather.hpp>
#include <dpgather/exchange/choice.hpp>
#include <dpgather/exchange/gather_config.hpp>
#include <dpgather/exchange/peer_table.hpp>

namespace dpgather {

/// Seconds of a clock that never goes back.
template <class C>
concept SecondsClock = requires(C& clock) {
  { clock() } -> std::same_as<double>;
};
struct SteadySeconds {
  [[nodiscard]] double operator()() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

namespace detail {

/// Takes the transport that it was last told to.
struct ToldTransport {
  struct Told {
    Transport transport = Transport::max_len;
    Allowed allowed = {};  ///< what the gather's steps may use, as of its last question
  };
  std::shared_ptr<Told> told = std::make_shared<Told>();

  [[nodiscard]] Choice choose(const StepLoad&, const Allowed& allowed) const {
    told->allowed = allowed;
    return {told->transport, ChoiceReason::fixed_mode};
  }
  [[nodiscard]] static constexpr bool may_use(Transport) { return true; }
  [[nodiscard]] std::uint64_t fingerprint() const { return 0; }
};

/// One per rank; construction, `prepare`, `run` and destruction are collective over `ffn`, which is
/// kept by reference. Has a gather of its own, whose buffers are as large as the caller's will be.
template <Element T, Communicator Comm, SecondsClock Clock>
class TransportTimer {
  using Memory = typename Comm::memory_type;
  using Stream = typename Memory::stream_type;

 public:
  /// `config` is settled; `rank` is of the layout's world.
  TransportTimer(Comm& ffn, const GatherConfig& config, int rank, Stream stream, Clock& clock)
      : ffn_(ffn),
        config_(config),
        clock_(clock),
        stream_(stream),
        gather_(ffn, config, mode_),
        out_(zeroed(config.max_local_rows * config.hidden)),
        met_(zeroed(ffn.size() + 1)) {
    step_.layout = config.layout;
    step_.rank = rank;
    step_.phases = 1;
    step_.phase[0].forward = Forward::extend;
    prepare(Transport::max_len, false, config.layout.attn_tp);
  }

  [[nodiscard]] bool can(Transport transport) const {
    return mode_.told->allowed.may_take(transport);
  }
  /// What `run` runs: `rows` rows on every DP rank, or (`one_hot`) on the first of each FFN group.
  void prepare(Transport transport, bool one_hot, std::int64_t rows) {
    mode_.told->transport = transport;
    auto& counts = step_.phase[0].tokens;
    counts.assign(static_cast<std::size_t>(config_.layout.dp), one_hot ? 0 : rows);
    for (std::size_t d = 0; one_hot && d < counts.size();
         d += static_cast<std::size_t>(config_.layout.group_dp()))
      counts[d] = rows;
    ++step_.index;
    const Step step(step_);
    shape_ = gather_.exact_shape(step);
    gather_.begin_step(step, shape_, stream_);
  }
  /// Seconds until this rank's stream had done both ways.
  [[nodiscard]] double run() {
    const std::int64_t own = gather_.plan().own_valid();
    const Rows<T> slot = gather_.slot(shape_).slice(0, own);
    produce(slot);
    const double begun = clock_();
    gather_.gather(shape_, slot, stream_);
    gather_.reduce_scatter(shape_, gather_.partial_slot(shape_),
                           Rows<T>(out_.data(), own, config_.hidden), stream_);
    wait_for(ffn_, stream_);
    return clock_() - begun;
  }
  /// Throws what devices found.
  void status() { gather_.status(); }

 private:
  /// Writes what this rank sends where a model leaves it: its caches have it, and none of the peers'.
  /// All zero: no rank can tell them from rows that were reduced, and sums stay finite. Then ranks
  /// meet, so that none waits for another that had more to write.
  void produce(const Rows<T>& slot) {
    const Rows<T> partial = gather_.partial_slot(shape_);
    zero(slot.data(), slot.size());
    zero(partial.data(), partial.size());
    ffn_.all_gather(static_cast<const T*>(met_.data() + ffn_.size()), met_.data(), 1, stream_);
    wait_for(ffn_, stream_);
  }
  static void zero(T* data, std::int64_t count) {
    if (count > 0) Memory::zero(data, static_cast<std::size_t>(count) * sizeof(T));
  }
  [[nodiscard]] static Buffer<T, Memory> zeroed(std::int64_t count) {
    Buffer<T, Memory> buffer(count);
    zero(buffer.data(), count);
    return buffer;
  }

  Comm& ffn_;
  GatherConfig config_;
  Clock& clock_;
  Stream stream_;
  ToldTransport mode_;
  DpGather<ToldTransport, T, Comm> gather_;
  Buffer<T, Memory> out_;
  Buffer<T, Memory> met_;  ///< a word of each rank, and this rank's
  AgreedStep step_;
  ShapeKey shape_;
};

}  // namespace detail

}  // namespace dpgather
