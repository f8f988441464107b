// The whole path against a plain computation: random steps of random set-ups, each row checked on
// each rank.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <dpgather/dp_gather.hpp>
#include <dpgather/graph_cache.hpp>

#include "support/ranks.hpp"

namespace test {

using namespace dpgather;

/// Everything about one set-up that is drawn at random.
struct SetUp {
  DpLayout layout;
  std::int64_t hidden = 1;
  std::int64_t max_requests = 1;
  Input input = Input::replicate;
  bool in_slot = false;      // the producer writes into the slot
  bool strided = false;      // caller's rows have a stride
  bool partial_sums = true;  // way back: reduce_scatter, else slice_local
  bool own_partial = true;   // the FFN writes into partial_slot
  bool graphs = false;
  std::uint64_t seed = 0;
  int steps = 6;

  static SetUp draw(std::mt19937_64& random) {
    const auto pick = [&](std::int64_t low, std::int64_t high) {
      return std::uniform_int_distribution<std::int64_t>(low, high)(random);
    };
    SetUp s;
    constexpr std::array<std::array<int, 2>, 10> layouts = {
        {{1, 1}, {1, 2}, {1, 3}, {2, 1}, {2, 2}, {3, 1}, {3, 2}, {4, 1}, {8, 1}, {2, 3}}};
    const auto [dp, attn_tp] = layouts[static_cast<std::size_t>(pick(0, 9))];
    s.layout = {.dp = dp, .attn_tp = attn_tp};
    s.hidden = pick(1, 9);
    s.max_requests = pick(1, 40);
    s.input = pick(0, 1) ? Input::partial : Input::replicate;
    s.in_slot = pick(0, 1) != 0;
    s.strided = pick(0, 2) == 0;
    s.partial_sums = pick(0, 3) != 0;
    s.own_partial = pick(0, 3) != 0;
    s.graphs = pick(0, 1) != 0;
    s.seed = random();
    return s;
  }
  [[nodiscard]] std::string text() const {
    return concat("dp ", layout.dp, " attn_tp ", layout.attn_tp, " hidden ", hidden, " requests ",
                  max_requests, input == Input::partial ? " partial" : " replicate",
                  in_slot ? " slot" : "", strided ? " strided" : "",
                  partial_sums ? " reduce_scatter" : " slice_local",
                  own_partial ? " partial_slot" : "", graphs ? " graphs" : "", " seed ", seed);
  }
};

/// What one step has, the same on every rank without talking: counts per DP rank and the forward
/// mode.
struct StepDraw {
  Forward forward = Forward::decode;
  int width = 1;
  std::vector<std::int64_t> requests;

  StepDraw(const SetUp& s, int step) {
    std::mt19937_64 random(s.seed * 1000003 + static_cast<std::uint64_t>(step));
    constexpr std::array forwards = {Forward::decode,        Forward::extend,
                                     Forward::mixed,         Forward::draft_decode,
                                     Forward::target_verify, Forward::draft_extend};
    // Graph set-ups keep to decode most of the time, so that captured shapes are met again.
    forward =
        s.graphs && random() % 4 != 0 ? Forward::decode : forwards[random() % forwards.size()];
    width =
        forward == Forward::decode || is_prefill(forward) ? 1 : static_cast<int>(1 + random() % 4);
    requests.resize(static_cast<std::size_t>(s.layout.dp));
    const auto most = static_cast<std::uint64_t>(s.max_requests);
    const auto kind = random() % 6;
    for (std::size_t d = 0; d < requests.size(); ++d) {
      std::uint64_t n = random() % (most + 1);                      // anything
      if (kind == 0) n = 0;                                         // nobody has rows
      if (kind == 1) n = most;                                      // a tie
      if (kind == 2) n = d == s.seed % requests.size() ? most : 0;  // one rank has all
      if (kind == 3) n = d == 0 ? most : 1;                         // a huge skew
      if (kind == 4 && random() % 2) n = 0;                         // some idle
      requests[d] = static_cast<std::int64_t>(n);
    }
  }
  [[nodiscard]] std::int64_t rows(std::size_t d) const { return requests[d] * width; }
};

/// Element j of the true row i of DP rank d: 0 to 3, so that sums are exact even in bf16.
inline int true_value(int step, std::size_t d, std::int64_t i, std::int64_t j) {
  const auto mixed = Hash{}.add(step).add(d).add(i).add(j).value();
  return static_cast<int>((mixed >> 17) % 4);
}
/// What attention-TP rank t holds of it when inputs are partial: summands that add up.
inline int summand(int step, std::size_t d, std::int64_t i, std::int64_t j, int t, int attn_tp) {
  const int value = true_value(step, d, i, j);
  if (attn_tp == 1) return value;
  if (t == 0) return value - 2 * (attn_tp - 1);
  return 2;
}
/// FFN weight of rank r on column j; not all zero over ranks.
inline int weight(int r, std::int64_t j) {
  return static_cast<int>((r * 5 + j * 3) % 4) - 1;
}

template <class T>
T element(int value) {
  if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, fp16>)
    return T(static_cast<float>(value));
  else
    return static_cast<T>(value);
}
template <class T>
bool is(T got, int value) {
  const T want = element<T>(value);
  return std::memcmp(&got, &want, sizeof(T)) == 0;
}

/// All bits set: NaN in every floating type.
template <class T>
void poison(std::span<T> elements) {
  std::memset(static_cast<void*>(elements.data()), 0xFF, elements.size_bytes());
}

/// A caller's rows: NaN-poisoned, with a gap between rows if strided.
template <class T>
struct CallerRows {
  CallerRows(std::int64_t rows, std::int64_t width, bool strided)
      : stride(strided ? width + 3 : width),
        memory(std::max<std::int64_t>(rows * stride, 1)),
        view(memory.data(), rows, width, stride) {}
  std::int64_t stride;
  Buffer<T> memory;
  Rows<T> view;
  [[nodiscard]] std::vector<unsigned char> bytes() const {
    const auto* begin = reinterpret_cast<const unsigned char*>(memory.data());
    return {begin, begin + memory.size() * static_cast<std::int64_t>(sizeof(T))};
  }
};

/// One rank through all steps of a set-up.
template <class Mode, class T>
class WholePath {
 public:
  WholePath(Rank& rank, const SetUp& set_up, Mode mode)
      : rank_(rank),
        set_up_(set_up),
        // Widths and A round lens up; the buffers must hold the longest.
        gather_(rank.comm,
                {.layout = set_up.layout,
                 .hidden = set_up.hidden,
                 .max_local_rows = set_up.max_requests * 4 + 256},
                mode),
        graphs_(CaptureSizes::sglang(std::max<std::int64_t>(set_up.max_requests - 2, 4))),
        hidden_(gather_.config().max_local_rows, set_up.hidden, set_up.strided),
        out_(gather_.config().max_local_rows, set_up.hidden, set_up.strided),
        sums_(gather_.config().max_global_rows, set_up.hidden, false) {}

  void run() {
    for (int step = 0; step < set_up_.steps; ++step) one_step(step);
  }

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
    const Plan& plan = gather_.begin_step(step, shape, HostStream{});
    fill_input(index, shape, rows);
    const auto before = hidden_.bytes();
    now_ = index;
    graphs_.run(step, shape, HostStream{}, rank_.agreement,
                [this](const ShapeKey& s, HostStream stream) { forward(s, stream); });
    gather_.status();
    expect(before == hidden_.bytes(), "the caller's rows were changed");
    check_out(index, plan, rows);
  }

  void fill_input(int index, const ShapeKey& shape, std::int64_t rows) {
    poison(hidden_.memory.span());
    const Rows<T> to = set_up_.in_slot ? gather_.slot(shape) : hidden_.view;
    if (set_up_.in_slot) poison(std::span(to.data(), static_cast<std::size_t>(to.size())));
    const bool partial = set_up_.input == Input::partial;
    const auto dp = static_cast<std::size_t>(rank_.dp());
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < set_up_.hidden; ++j)
        to(i, j) = element<T>(partial ? summand(index, dp, i, j, rank_.tp(), set_up_.layout.attn_tp)
                                      : true_value(index, dp, i, j));
  }

  /// What is captured: gather, an "FFN" and the way back. Nothing in it may depend on the step but
  /// through memory.
  void forward(const ShapeKey& shape, HostStream stream) {
    const Rows<T> input =
        set_up_.in_slot ? gather_.slot(shape) : hidden_.view.slice(0, shape.local_len);
    const Rows<T> all = gather_.gather(shape, input, stream, set_up_.input);
    stream.submit("check_gathered", [this, all, &index = now_] { check_gathered(index, all); });
    const Rows<T> sums =
        set_up_.own_partial ? gather_.partial_slot(shape) : sums_.view.slice(0, shape.global_len);
    const bool partial = set_up_.partial_sums;
    stream.submit("ffn", [this, all, sums, partial] { ffn(all, sums, partial); });
    const Rows<T> out = out_.view.slice(0, shape.local_len);
    stream.submit("poison", [memory = out_.memory.span()] { poison(memory); });
    if (partial)
      gather_.reduce_scatter(shape, sums, out, stream);
    else
      gather_.slice_local(shape, sums, out, stream);
  }

  void check_gathered(int index, Rows<const T> all) const {
    const StepDraw draw(set_up_, index);
    const CountsView counts = gather_.counts();
    std::vector<bool> real(static_cast<std::size_t>(all.rows()));
    for (std::int64_t d = 0; d < counts.blocks; ++d) {
      const auto dp = static_cast<std::size_t>(d);
      expect(counts.valid[d] == draw.rows(dp), "valid rows of block ", d, ": ", counts.valid[d]);
      for (std::int64_t i = 0; i < draw.rows(dp); ++i) {
        const std::int64_t at = counts.offsets[d] + i;
        expect(!real[static_cast<std::size_t>(at)], "two blocks share row ", at);
        real[static_cast<std::size_t>(at)] = true;
        for (std::int64_t j = 0; j < set_up_.hidden; ++j)
          expect(is(all(at, j), true_value(index, dp, i, j)), "step ", index, ": row ", i,
                 " of DP rank ", d, " is wrong on rank ", rank_.rank());
      }
    }
    for (std::int64_t at = 0; at < all.rows(); ++at)
      for (std::int64_t j = 0; j < set_up_.hidden && !real[static_cast<std::size_t>(at)]; ++j)
        expect(is(all(at, j), 0), "pad row ", at, " of ", all.rows(), " is not zero on rank ",
               rank_.rank());
  }

  /// Partial sums: this rank's share. Reduced: the whole sum on every rank. Pads become NaN, as a
  /// real FFN may do.
  void ffn(Rows<const T> all, Rows<T> sums, bool partial) const {
    poison(std::span(sums.data(), static_cast<std::size_t>(sums.size())));
    const CountsView counts = gather_.counts();
    for (std::int64_t d = 0; d < counts.blocks; ++d)
      for (std::int64_t i = counts.offsets[d]; i < counts.offsets[d] + counts.valid[d]; ++i)
        for (std::int64_t j = 0; j < set_up_.hidden; ++j) {
          const int value = static_cast<int>(
              static_cast<double>(static_cast<typename ElementTraits<T>::accumulate>(all(i, j))));
          int factor = 0;
          for (int r = 0; r < set_up_.layout.world(); ++r)
            if (!partial || r == rank_.rank()) factor += weight(r, j);
          sums(i, j) = element<T>(value * factor);
        }
  }

  void check_out(int index, const Plan& plan, std::int64_t rows) const {
    const auto dp = static_cast<std::size_t>(rank_.dp());
    for (std::int64_t j = 0; j < set_up_.hidden; ++j) {
      int factor = 0;
      for (int r = 0; r < set_up_.layout.world(); ++r) factor += weight(r, j);
      for (std::int64_t i = 0; i < plan.shape.local_len; ++i) {
        const int want = i < rows ? true_value(index, dp, i, j) * factor : 0;
        expect(is(out_.view(i, j), want), "step ", index, ": output row ", i, " of ", rows,
               " is wrong on rank ", rank_.rank(), " at shape ", plan.shape.to_string());
      }
    }
  }

  Rank& rank_;
  SetUp set_up_;
  DpGather<Mode, T> gather_;
  GraphCache<> graphs_;
  CallerRows<T> hidden_, out_, sums_;
  int now_ = 0;
};

template <class Mode, class T>
void whole_path(const SetUp& set_up, Mode mode = {}) {
  on_ranks(set_up.layout, [&](Rank& rank) { WholePath<Mode, T>(rank, set_up, mode).run(); });
}

}  // namespace test
