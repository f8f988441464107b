// The whole path against a plain computation: random steps of random set-ups, each row checked on
// each rank. The same code for host memory, the simulation and GPUs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include <dpgather/dp_gather.hpp>
#include <dpgather/graph_cache.hpp>

#include "property/row_values.hpp"
#include "property/set_up.hpp"
#include "support/ranks.hpp"
#include "support/transfer.hpp"

namespace test {

/// A caller's rows, with a gap between rows if strided.
template <class T, class Memory>
struct CallerRows {
  CallerRows(std::int64_t rows, std::int64_t width, bool strided)
      : stride(strided ? width + 3 : width),
        memory(std::max<std::int64_t>(rows * stride, 1)),
        view(memory.data(), rows, width, stride) {}
  std::int64_t stride;
  Buffer<T, Memory> memory;
  Rows<T> view;
};

/// Takes its transport at run time, so that one instantiation a type covers all of them.
struct AnyMode {
  Transport transport = Transport::max_len;
  [[nodiscard]] Choice choose(const StepLoad&, const Allowed& allowed) const {
    if (allowed.captured && !graph_safe(transport)) return {std::nullopt, ChoiceReason::fixed_mode};
    return {transport, ChoiceReason::fixed_mode};
  }
  static constexpr bool may_use(Transport) { return true; }
  [[nodiscard]] std::uint64_t fingerprint() const { return static_cast<std::uint64_t>(transport); }
};

/// Drawn from those that `Comm` has.
template <class Comm>
[[nodiscard]] constexpr Transport any_transport(std::uint64_t draw) {
  if (!PeerCommunicator<Comm>) return static_cast<Transport>(draw % 3);
  const auto transport = static_cast<Transport>(draw % 4);
  const bool by_hosts = transport == Transport::max_len && draw / 4 % 2 != 0;
  return by_hosts ? Transport::sum_len_hierarchical : transport;
}

/// Several only where a mode may make use of them.
template <class Mode>
[[nodiscard]] int hosts_of(const Mode& mode, const SetUp& set_up) {
  if constexpr (std::is_same_v<Mode, AnyMode>)
    return mode.transport == Transport::sum_len_hierarchical ? set_up.hosts() : 1;
  else
    return Mode::may_use(Transport::sum_len_hierarchical) ? set_up.hosts() : 1;
}

/// One rank through all steps of a set-up.
template <class Mode, class T, class Comm, GraphBackend Backend>
class WholePath {
 public:
  using Memory = typename Comm::memory_type;
  using Stream = typename Memory::stream_type;

  WholePath(RankOf<Comm>& rank, const SetUp& set_up, Mode mode)
      : rank_(rank),
        set_up_(set_up),
        // Widths and A round lens up; the buffers must hold the longest.
        gather_(rank.comm,
                {.layout = set_up.layout,
                 .hidden = set_up.hidden,
                 .max_local_rows = set_up.max_requests * 4 + set_up.spare_rows,
                 .hosts = hosts_of(mode, set_up)},
                mode),
        graphs_(CaptureSizes::sglang(std::max<std::int64_t>(set_up.max_requests - 2, 4))),
        hidden_(gather_.config().max_local_rows, set_up.hidden, set_up.strided),
        out_(gather_.config().max_local_rows, set_up.hidden, set_up.strided),
        sums_(gather_.config().max_global_rows, set_up.hidden, false),
        now_(1),
        wrong_(1) {
    *wrong_.data() = 0;
  }

  void run() {
    for (int step = 0; step < set_up_.steps; ++step) one_step(step);
  }
  [[nodiscard]] const GraphStatistics& statistics() const { return graphs_.statistics(); }

 private:
  void one_step(int index) {
    const StepDraw draw(set_up_, index);
    const auto dp = static_cast<std::size_t>(rank_.dp());
    const std::int64_t rows = draw.rows(dp);
    const bool idle = rows == 0;
    const Step step = rank_.agree({.tokens = rows,
                                   .requests = draw.requests[dp],
                                   .forward = idle ? Forward::idle : draw.forward,
                                   .width = draw.width});
    const ShapeKey shape =
        set_up_.graphs ? graphs_.select(step, gather_) : gather_.exact_shape(step);
    const Plan& plan = gather_.begin_step(step, shape, rank_.stream);
    fill_input(draw, index, shape, rows);
    const auto before = contents(hidden_);
    graphs_.run(step, shape, rank_.stream, rank_.agreement,
                [this](const ShapeKey& s, Stream stream) { forward(s, stream); });
    const auto after = contents(hidden_);  // waits for the stream
    gather_.status();
    expect(*wrong_.data() == 0, "step ", index, ": rank ", rank_.rank(),
           " gathered a wrong row or count: ", *wrong_.data() - 1, " at shape ",
           plan.shape.to_string());
    expect(before == after, "the caller's rows were changed");
    check_out(index, plan, rows);
  }

  void fill_input(const StepDraw& draw, int index, const ShapeKey& shape, std::int64_t rows) {
    StepWords words{.index = index};
    for (std::size_t d = 0; d < draw.requests.size(); ++d) words.rows[d] = draw.rows(d);
    launch(rank_.stream, "step_words", 1, WriteStep{words, now_.data()});
    launch(rank_.stream, "poison", hidden_.memory.size(), Poison<T>{hidden_.memory.data()});
    const Rows<T> to = set_up_.in_slot ? gather_.slot(shape) : hidden_.view;
    if (set_up_.in_slot) launch(rank_.stream, "poison", to.size(), Poison<T>{to.data()});
    launch(rank_.stream, "produce", rows,
           Produce<T>{to, index, rank_.dp(), rank_.tp(), set_up_.layout.attn_tp,
                      set_up_.input == Input::partial});
  }

  /// What is captured: gather, an "FFN" and the way back. Nothing in it may depend on the step but
  /// through memory.
  void forward(const ShapeKey& shape, Stream stream) {
    const Rows<T> input =
        set_up_.in_slot ? gather_.slot(shape) : hidden_.view.slice(0, shape.local_len);
    const Rows<T> all = gather_.gather(shape, input, stream, set_up_.input);
    launch(stream, "check_gathered", std::max<std::int64_t>(all.rows(), 1),
           CheckGathered<T>{all, gather_.counts(), now_.data(), wrong_.data()});
    const Rows<T> sums =
        set_up_.own_partial ? gather_.partial_slot(shape) : sums_.view.slice(0, shape.global_len);
    launch(stream, "ffn", sums.rows(),
           Ffn<T>{all, sums, gather_.counts(), rank_.rank(), set_up_.layout.world(),
                  set_up_.partial_sums});
    const Rows<T> out = out_.view.slice(0, shape.local_len);
    launch(stream, "poison", out_.memory.size(), Poison<T>{out_.memory.data()});
    if (set_up_.partial_sums)
      gather_.reduce_scatter(shape, sums, out, stream);
    else
      gather_.slice_local(shape, sums, out, stream);
  }

  [[nodiscard]] std::vector<T> copy_of(const CallerRows<T, Memory>& rows) const {
    std::vector<T> copy(static_cast<std::size_t>(rows.memory.size()));
    download(static_cast<const T*>(rows.memory.data()), std::span<T>(copy), rank_.stream);
    return copy;
  }
  [[nodiscard]] std::vector<unsigned char> contents(const CallerRows<T, Memory>& rows) const {
    const std::vector<T> copy = copy_of(rows);
    const auto* begin = reinterpret_cast<const unsigned char*>(copy.data());
    return {begin, begin + copy.size() * sizeof(T)};
  }

  void check_out(int index, const Plan& plan, std::int64_t rows) const {
    std::vector<T> copy = copy_of(out_);
    const Rows<T> out(copy.data(), out_.view.rows(), out_.view.width(), out_.stride);
    for (std::int64_t j = 0; j < set_up_.hidden; ++j) {
      int factor = 0;
      for (int r = 0; r < set_up_.layout.world(); ++r) factor += weight(r, j);
      for (std::int64_t i = 0; i < plan.shape.local_len; ++i) {
        const int want = i < rows ? true_value(index, rank_.dp(), i, j) * factor : 0;
        expect(is(out(i, j), want), "step ", index, ": output row ", i, " of ", rows,
               " is wrong on rank ", rank_.rank(), " at shape ", plan.shape.to_string());
      }
    }
  }

  RankOf<Comm>& rank_;
  SetUp set_up_;
  DpGather<Mode, T, Comm> gather_;
  GraphCache<ShapeKey, CaptureSizes, KeepAll, Backend> graphs_;
  CallerRows<T, Memory> hidden_, out_, sums_;
  Buffer<StepWords, Memory> now_;
  Buffer<std::int64_t, typename Memory::visible_type> wrong_;
};

}  // namespace test
