// Random programs of collectives, fills and graphs, the same on all ranks, and what they give when
// ranks run one after another on plain arrays.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

#include "support/seed.hpp"
#include "thread_device/support.hpp"

namespace thread_device {

using Value = std::int32_t;
inline constexpr int buffers = 4;
inline constexpr std::int64_t capacity = 64;

enum class Op {
  fill,
  all_gather,
  all_reduce,
  reduce_scatter,
  broadcast,
  all_gather_v,
  reduce_scatter_v
};

/// One call, from buffer `from` to buffer `to` (in place if they are the same), or a fill of `to`
/// with what `salt` says.
struct Call {
  Op op = Op::fill;
  int from = 0, to = 0, salt = 0, root = 0;
  std::int64_t count = 0;
  std::vector<std::int64_t> counts = {}, offsets = {};
};
/// Calls in a row: as they are, as one group, or as a graph that is launched `launches` times with
/// a new fill of each buffer in front.
struct Step {
  enum class Kind { plain, group, graph } kind = Kind::plain;
  std::vector<Call> calls;
  int launches = 1;
  int salt = 0;
};

inline Call random_call(support::Random& random, int ranks, bool fills) {
  Call call;
  call.op = static_cast<Op>(random.between(fills ? 0 : 1, 6));
  call.from = static_cast<int>(random.between(0, buffers - 1));
  call.to = random.chance(30) ? call.from : static_cast<int>(random.between(0, buffers - 1));
  call.salt = static_cast<int>(random.between(0, 99));
  call.root = static_cast<int>(random.between(0, ranks - 1));
  const bool all = call.op == Op::all_reduce || call.op == Op::broadcast;
  call.count = random.between(0, all ? capacity : capacity / ranks);
  std::int64_t end = 0;
  for (int r = 0; r < ranks; ++r) {
    call.counts.push_back(random.chance(30) ? 0 : random.between(0, capacity / ranks - 3));
    call.offsets.push_back(end + random.between(0, 3));
    end = call.offsets.back() + call.counts.back();
  }
  return call;
}

inline std::vector<Step> random_program(support::Random& random, int ranks) {
  std::vector<Step> steps;
  for (std::int64_t i = random.between(2, 6); i > 0; --i) {
    Step step;
    step.kind = static_cast<Step::Kind>(random.between(0, 2));
    step.salt = static_cast<int>(random.between(0, 99));
    step.launches = static_cast<int>(random.between(1, 4));
    for (std::int64_t j = random.between(1, 4); j > 0; --j) {
      Call call = random_call(random, ranks, step.kind != Step::Kind::group);
      // The calls of a group must not depend on each other.
      if (step.kind == Step::Kind::group) {
        if (step.calls.size() == 2) break;
        call.from = call.to = static_cast<int>(step.calls.size()) * 2;
        call.from += call.op != Op::broadcast && random.chance(50) ? 1 : 0;
      }
      if (call.op == Op::broadcast) call.from = call.to;
      step.calls.push_back(std::move(call));
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

inline Value wrap(std::int64_t sum) {
  return static_cast<Value>(static_cast<std::uint32_t>(sum));
}
inline std::vector<Value> filling(int rank, int buffer, int salt) {
  std::vector<Value> values(static_cast<std::size_t>(capacity));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = wrap((std::int64_t{rank} * 1000003 + buffer * 10007 + salt * 101 +
                      static_cast<std::int64_t>(i)) *
                     7919);
  return values;
}

/// Where a rank's own part is, if the buffer holds all parts.
inline std::int64_t own_part(const Call& call, int rank) {
  switch (call.op) {
    case Op::all_gather:
    case Op::reduce_scatter:
      return rank * call.count;
    case Op::all_gather_v:
    case Op::reduce_scatter_v:
      return call.offsets[static_cast<std::size_t>(rank)];
    default:
      return 0;
  }
}

/// All ranks' buffers on the host.
class Model {
 public:
  explicit Model(int ranks) : ranks_(ranks), all_(static_cast<std::size_t>(ranks)) {
    for (auto& rank : all_)
      for (auto& buffer : rank) buffer.assign(static_cast<std::size_t>(capacity), -1);
  }
  [[nodiscard]] std::vector<Value>& at(int rank, int buffer) {
    return all_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(buffer)];
  }
  void run(const Step& step) {
    const int times = step.kind == Step::Kind::graph ? step.launches : 1;
    for (int launch = 0; launch < times; ++launch) {
      if (step.kind == Step::Kind::graph)
        for (int r = 0; r < ranks_; ++r)
          for (int b = 0; b < buffers; ++b) at(r, b) = filling(r, b, step.salt + launch);
      for (const Call& call : step.calls) run(call);
    }
  }

 private:
  void run(const Call& call) {
    const auto before = all_;
    const auto source = [&](int rank, std::int64_t i) {
      return before[static_cast<std::size_t>(rank)][static_cast<std::size_t>(call.from)]
                   [static_cast<std::size_t>(i)];
    };
    const bool ragged = call.op == Op::all_gather_v || call.op == Op::reduce_scatter_v;
    const bool in_place = call.from == call.to;
    for (int rank = 0; rank < ranks_; ++rank) {
      auto& to = at(rank, call.to);
      const auto put = [&](std::int64_t i, std::int64_t v) {
        to[static_cast<std::size_t>(i)] = wrap(v);
      };
      const auto n = [&](int r) {
        return ragged ? call.counts[static_cast<std::size_t>(r)] : call.count;
      };
      const auto sum = [&](std::int64_t i) {
        std::int64_t total = 0;
        for (int r = 0; r < ranks_; ++r) total += source(r, i);
        return total;
      };
      switch (call.op) {
        case Op::fill:
          to = filling(rank, call.to, call.salt);
          break;
        case Op::all_gather:
        case Op::all_gather_v:
          for (int r = 0; r < ranks_; ++r)
            for (std::int64_t i = 0; i < n(r); ++i)
              put(own_part(call, r) + i, source(r, (in_place ? own_part(call, r) : 0) + i));
          break;
        case Op::all_reduce:
          for (std::int64_t i = 0; i < call.count; ++i) put(i, sum(i));
          break;
        case Op::broadcast:
          for (std::int64_t i = 0; i < call.count; ++i) put(i, source(call.root, i));
          break;
        case Op::reduce_scatter:
        case Op::reduce_scatter_v:
          for (std::int64_t i = 0; i < n(rank); ++i)
            put((in_place ? own_part(call, rank) : 0) + i, sum(own_part(call, rank) + i));
          break;
      }
    }
  }
  int ranks_;
  std::vector<std::array<std::vector<Value>, buffers>> all_;
};

/// A rank's buffers, and the program on them.
class Machine {
 public:
  Machine(Comm& comm, const Place& at) : comm_(comm), at_(at) {
    for (auto& buffer : data_) {
      buffer = std::make_unique<Data<Value>>(capacity);
      buffer->set(std::vector<Value>(static_cast<std::size_t>(capacity), -1), at.stream);
    }
  }
  /// Waits for nothing on the host.
  void run(const Step& step) {
    const auto calls = [&] {
      for (const Call& call : step.calls) run(call);
    };
    switch (step.kind) {
      case Step::Kind::plain:
        return calls();
      case Step::Kind::group:
        return comm_.group(calls);
      case Step::Kind::graph: {
        graphs_.push_back(std::make_unique<Graph>(at_.stream, calls));
        for (int launch = 0; launch < step.launches; ++launch) {
          for (int b = 0; b < buffers; ++b) fill(b, step.salt + launch);
          graphs_.back()->launch(at_.stream);
        }
      }
    }
  }
  [[nodiscard]] Data<Value>& buffer(int b) { return *data_[static_cast<std::size_t>(b)]; }

 private:
  void fill(int b, int salt) { buffer(b).set(filling(at_.rank, b, salt), at_.stream); }
  void run(const Call& call) {
    const cudaStream_t s = at_.stream.get();
    const bool in_place = call.from == call.to;
    const std::int64_t own = in_place ? own_part(call, at_.rank) : 0;
    Value* const from = buffer(call.from).data();
    Value* const to = buffer(call.to).data();
    switch (call.op) {
      case Op::fill:
        return fill(call.to, call.salt);
      case Op::all_gather:
        return comm_.all_gather(from + own, to, call.count, s);
      case Op::all_reduce:
        return comm_.all_reduce(from, to, call.count, s);
      case Op::reduce_scatter:
        return comm_.reduce_scatter(from, to + own, call.count, s);
      case Op::broadcast:
        return comm_.broadcast(to, call.count, call.root, s);
      case Op::all_gather_v:
        return comm_.all_gather_v(from + own, to, call.counts, call.offsets, s);
      case Op::reduce_scatter_v:
        return comm_.reduce_scatter_v(from, to + own, call.counts, call.offsets, s);
    }
  }
  Comm& comm_;
  const Place& at_;
  std::array<std::unique_ptr<Data<Value>>, buffers> data_;
  std::vector<std::unique_ptr<Graph>> graphs_;
};

}  // namespace thread_device
