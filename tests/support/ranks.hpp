// Runs W * A ranks as threads, each with what a step needs. A check that fails throws, so that the
// rank's peers are freed and the test ends with the reason.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/thread.hpp>

namespace test {

template <class... Parts>
void expect(bool condition, const Parts&... parts) {
  if (!condition) throw std::logic_error(dpgather::concat(parts...));
}

/// One rank of a test: communicator, control plane and agreement over all ranks of the layout, and
/// the stream that it works on.
template <class Comm>
struct RankOf {
  using memory_type = typename Comm::memory_type;

  Comm& comm;
  dpgather::ThreadControl& control;
  dpgather::StepAgreement<dpgather::ThreadControl>& agreement;
  dpgather::DpLayout layout;
  typename memory_type::stream_type stream = {};

  [[nodiscard]] int rank() const { return comm.rank(); }
  [[nodiscard]] int dp() const { return layout.dp_rank(comm.rank()); }
  [[nodiscard]] int tp() const { return layout.tp_rank(comm.rank()); }

  /// Posts and waits.
  dpgather::Step agree(const dpgather::Phase& phase) {
    agreement.post(phase);
    return agreement.wait();
  }
  /// A step in which this rank decodes `rows` rows, one a request, or is idle.
  dpgather::Step agree_decode(std::int64_t rows) {
    return agree({.tokens = rows,
                  .requests = rows,
                  .forward = rows > 0 ? dpgather::Forward::decode : dpgather::Forward::idle});
  }
  /// Whether ranks find at their next step that they have diverged.
  [[nodiscard]] bool diverges() {
    try {
      static_cast<void>(agree_decode(1));
    } catch (const dpgather::DivergenceError&) {
      return true;
    }
    return false;
  }
};
using Rank = RankOf<dpgather::ThreadComm<>>;

/// `f(Rank&)` on every rank; rethrows the error of the rank that failed first of its own accord.
template <class F>
void on_ranks(const dpgather::DpLayout& layout, F f) {
  const auto board = std::make_shared<dpgather::ThreadControlBoard>(layout.world());
  dpgather::run_ranks(layout.world(), [&](dpgather::ThreadComm<>& comm) {
    dpgather::ThreadControl control(board, comm.rank());
    dpgather::StepAgreement agreement(control, layout);
    Rank rank{comm, control, agreement, layout};
    f(rank);
  });
}

}  // namespace test
