// The figures of a run, and how steps add up to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/shape_key.hpp>

#include "policy.hpp"

namespace serve_trace {

/// Rows, summed over steps. Moved rows are per rank: what one rank receives.
struct RowFigures {
  std::int64_t moved_out = 0, moved_back = 0;
  std::int64_t computed = 0;          ///< by the FFN, pads included
  std::int64_t decode_computed = 0;   ///< the same in decode-only live steps
  std::int64_t decode_attention = 0;  ///< by attention in decode-only live steps

  friend bool operator==(const RowFigures&, const RowFigures&) = default;
};

/// Adds up launches over `ranks`.
class RowSum {
 public:
  explicit RowSum(int ranks) : ranks_(ranks) {}
  void add(const Launch& launch, bool decode_only_live);
  [[nodiscard]] RowFigures rows() const;

 private:
  std::int64_t ranks_;
  RowFigures sum_;  // moved rows of all ranks
};

struct GraphFigures {
  std::int64_t keys = 0;       ///< held at the end
  std::int64_t most_keys = 0;  ///< held at any time
  std::int64_t captures = 0;
  std::int64_t dropped = 0;    ///< for lack of room, or since their size was gone
  std::int64_t retunings = 0;  ///< times that sizes became others
  std::int64_t replays = 0;
  std::int64_t eager_steps = 0;
  std::map<std::string, std::int64_t> eager_reasons;  ///< steps by reason
};

/// Of what a graph cache of `keys` graphs, at most `most_keys`, did.
[[nodiscard]] GraphFigures graph_figures(const dpgather::GraphStatistics& statistics,
                                         std::size_t keys, std::size_t most_keys);
/// Steps by the reason of their transport.
using Choices = std::map<std::string, std::int64_t>;
[[nodiscard]] Choices choice_figures(const dpgather::ChoiceCounts& counts);

/// What the simulation of GPUs saw, over all ranks.
struct Simulated {
  std::int64_t calls = 0;  ///< of CUDA and NCCL
  std::int64_t kernels = 0, collectives = 0, graph_launches = 0;
  std::vector<std::string> leaks = {};  ///< what ranks left behind
};

struct Figures {
  std::int64_t requests = 0;  ///< admitted
  std::int64_t steps = 0, idle_steps = 0, live_steps = 0, decode_only_steps = 0;
  std::int64_t max_len_steps = 0, sum_len_steps = 0;  ///< as the rule says on exact counts
  std::int64_t rows = 0;                              ///< token rows that exist
  std::int64_t prefill_rows = 0;                      ///< those of them that are prompt
  std::int64_t decode_rows = 0;                       ///< in decode-only live steps
  RowFigures launched;         ///< this run, as counted while it ran; in a dry run as planned
  RowFigures planned;          ///< this run, from the counts of its steps alone
  RowFigures unpadded;         ///< this run if every step were eager
  RowFigures sglang;           ///< SGLang's rule and sizes on the same steps
  RowFigures sglang_unpadded;  ///< its rule, every step eager
  GraphFigures graphs;
  Choices choices;                                ///< of this run
  std::int64_t checked_rows = 0, wrong_rows = 0;  ///< on all ranks; 0 in a dry run
  std::optional<Simulated> simulated = {};        ///< none: on real memory
  double seconds = 0;
  int rank = 0;  ///< whose these are; the run speaks through rank 0

  /// Every row is right, the rows counted are those planned, and nothing was left behind.
  [[nodiscard]] bool good() const {
    return wrong_rows == 0 && launched == planned && (!simulated || simulated->leaks.empty());
  }
};

/// What one step was, over all DP ranks.
struct StepFacts {
  dpgather::Counts counts;
  dpgather::Forward forward = dpgather::Forward::idle;
  std::int64_t prefill_rows = 0;
  std::int64_t admitted = 0;  ///< requests, up to this step
  bool live = false;
};

/// Adds up steps by the planning layer alone; equal on every rank. `options` must outlive it.
class Accounting {
 public:
  explicit Accounting(const Options& options);

  void add(const StepFacts& step);
  [[nodiscard]] std::int64_t steps() const { return figures_.steps; }
  [[nodiscard]] std::int64_t rows() const { return figures_.rows; }
  [[nodiscard]] Figures figures() const;

 private:
  void add_graph(const Launch& launch);
  void hold(const dpgather::ShapeKey& key);

  const Options& options_;
  Planner own_, sglang_;
  RowSum planned_, unpadded_, sglang_rows_, sglang_unpadded_;
  dpgather::ChoiceCounts choices_;
  std::vector<std::int64_t> lens_;                   // of a step, aligned
  std::map<dpgather::ShapeKey, std::int64_t> keys_;  // by their last use
  Figures figures_;
};

}  // namespace serve_trace
