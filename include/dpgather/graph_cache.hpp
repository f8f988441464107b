// GraphCache: capture once per key, replay after, run eagerly where no key fits.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <dpgather/agree/step.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/range.hpp>
#include <dpgather/graph/backend.hpp>
#include <dpgather/graph/eviction.hpp>
#include <dpgather/graph/gather_watch.hpp>
#include <dpgather/graph/graph_key.hpp>
#include <dpgather/graph/host_graphs.hpp>
#include <dpgather/graph/replay_guard.hpp>
#include <dpgather/graph/select.hpp>
#include <dpgather/graph/statistics.hpp>
#include <dpgather/plan/capture_sizes.hpp>

namespace dpgather {

/// One per rank; all ranks make the same calls. One cache wraps the whole model. Captured work
/// reads what varies from fixed addresses (DpGather's counts, StaticInputs) and bakes everything
/// else. A communicator or gather that a graph holds must outlive it: destroy or `invalidate` the
/// cache first.
///
/// *Passenger mode*: an engine that captures by itself uses `select`, `holds`, `note_capture`,
/// `note_replay`, `note_eager` and `invalidate`, and never `run`.
template <GraphKey Key = ShapeKey, SizePolicy Sizes = CaptureSizes,
          EvictionPolicy<Key> Eviction = KeepAll, GraphBackend Backend = HostGraphs>
class GraphCache {
 public:
  using stream_type = typename Backend::stream_type;

  explicit GraphCache(Sizes sizes, Eviction eviction = {})
      : sizes_(std::move(sizes)), eviction_(std::move(eviction)) {}
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  /// Shape of this step: the smallest captured size that fits, the same on all ranks; `gather`'s
  /// exact shape where no graph can run. Nothing is captured yet.
  template <class Gather>
  [[nodiscard]] ShapeKey select(const Step& step, Gather& gather) {
    const auto& config = gather.config();
    const Selection selection =
        select_shape(step.plan_input(config.axis, config.phase), max(step.requests(config.phase)),
                     step.can_graph(config.phase), gather.static_transport(step), sizes_,
                     {.local_rows = config.max_local_rows, .global_rows = config.max_global_rows});
    reason_ = selection.reason;
    if (watch_.lost_any(gather.lifeline().hold())) drop_all();
    return reason_ == EagerReason::none ? selection.shape : gather.exact_shape(step);
  }

  /// Runs `body(key, stream)`: at once if the shape is exact, else as a graph, which is captured if
  /// `key` is new. On a device a new key's step runs eagerly first, and its graph from the next
  /// step on. A capture runs nothing; it ends with `agreement.confirm`, and if it failed on any
  /// rank the key is dropped and stays eager on all ranks, this step included. Throws CapacityError
  /// if the step does not fit the key.
  template <class Agreement, std::invocable<const Key&, stream_type> Body>
  void run(const Step& step, const Key& key, stream_type stream, Agreement& agreement, Body&& body,
           int phase = 0) {
    const detail::Range range("dpgather graph");
    const ErrorContext where{step.rank(), step.index(), "GraphCache"};
    if (shape_of(key).is_static) check_fit(step, key, phase);
    watch_.check_begun(where);
    const StateReport<Agreement> report{*this, agreement};
    if (!shape_of(key).is_static) {
      note_eager(std::exchange(reason_, EagerReason::caller));
      return body(key, stream);
    }
    require(!running_, where, "a graph is running already; one execution at a time");
    if (!failed_.contains(key) && !graphs_.contains(key)) {
      capture(key, stream, agreement, body);
      if constexpr (Backend::warms_up) return note_eager(EagerReason::warm_up);
    }
    if (failed_.contains(key)) {
      note_eager(EagerReason::capture_failed);
      return body(key, stream);
    }
    const Running running{running_};
    Backend::launch(graphs_.at(key), stream, where);
    note_use(step, key, phase);
  }

  /// Captures all keys before serving, largest global len first, so that later ones fit into what
  /// it allocated.
  template <class Agreement, std::invocable<const Key&, stream_type> Body>
  void capture_all(std::span<const Key> keys, stream_type stream, Agreement& agreement,
                   Body&& body) {
    std::vector<Key> order(keys.begin(), keys.end());
    std::stable_sort(order.begin(), order.end(), [](const Key& a, const Key& b) {
      return shape_of(a).global_len > shape_of(b).global_len;
    });
    for (const Key& key : order)
      if (!graphs_.contains(key)) capture(key, stream, agreement, body);
  }

  /// A graph for `key` is there, and nothing it holds was invalidated.
  [[nodiscard]] bool holds(const Key& key) const {
    return graphs_.contains(key) || noted_.contains(key);
  }
  [[nodiscard]] std::size_t size() const { return graphs_.size() + noted_.size(); }
  /// Passenger: the engine captured `key` in the current generation.
  void note_capture(const Key& key) {
    noted_.insert(key);
    ++statistics_.captures;
  }
  /// Passenger: call before the engine replays `key`. The replay guard: throws CapacityError if the
  /// step does not fit, GraphError if `key` was not captured since the last `invalidate`.
  void note_replay(const Step& step, const Key& key, int phase = 0) {
    require<GraphError>(holds(key), {step.rank(), step.index(), "GraphCache"}, "no graph of ",
                        shape_of(key), " was captured since the last invalidate");
    check_fit(step, key, phase);
    note_use(step, key, phase);
  }
  void note_eager(EagerReason reason) { ++statistics_.eager[static_cast<std::size_t>(reason)]; }

  /// Drops every graph: a communicator was re-created or a buffer moved. Call it on all ranks in the
  /// same step: the next agreement throws DivergenceError where caches differ. `select` does so
  /// itself when a gather that it was given before is gone.
  template <class Agreement>
  void invalidate(Agreement& agreement) {
    drop_all();
    agreement.set_state(state());
  }
  /// Of what was captured, failed and dropped so far; the same on all ranks.
  [[nodiscard]] std::uint64_t state() const {
    return Hash{}
        .add(generation_)
        .add(statistics_.captures)
        .add(statistics_.failed_captures)
        .add(statistics_.evictions)
        .add(size())
        .value();
  }
  [[nodiscard]] std::uint64_t generation() const { return generation_; }
  [[nodiscard]] const GraphStatistics& statistics() const { return statistics_; }
  /// What the last failed capture said, and on which rank.
  [[nodiscard]] const std::string& last_failure() const { return last_failure_; }
  [[nodiscard]] const Sizes& sizes() const { return sizes_; }
  /// Why the last `select` found no graph.
  [[nodiscard]] EagerReason reason() const { return reason_; }
  [[nodiscard]] std::uint64_t fingerprint() const { return sizes_.fingerprint(); }

 private:
  struct Running {
    bool& flag;
    explicit Running(bool& f) : flag(f) { flag = true; }
    ~Running() { flag = false; }
  };
  /// Posts the state with the next step, whatever happens in this one.
  template <class Agreement>
  struct StateReport {
    const GraphCache& cache;
    Agreement& agreement;
    ~StateReport() { agreement.set_state(cache.state()); }
  };
  void drop_all() {
    graphs_.clear();
    noted_.clear();
    failed_.clear();
    statistics_.graph_bytes = 0;
    ++generation_;
    ++statistics_.invalidations;
  }
  static void check_fit(const Step& step, const Key& key, int phase) {
    detail::check_fit({max(step.tokens(phase)), max(step.requests(phase)), step.forward(phase),
                       step.width(phase)},
                      shape_of(key), {step.rank(), step.index(), "GraphCache"});
  }

  template <class Agreement, class Body>
  void capture(const Key& key, stream_type stream, Agreement& agreement, Body& body) {
    // An exception of the warm-up is one of an eager step: it passes, and nothing is captured.
    if constexpr (Backend::warms_up) body(key, stream);
    typename Backend::graph_type graph;
    std::string failure;
    try {
      graph = Backend::capture(stream, [&](stream_type recording) { body(key, recording); });
    } catch (const std::exception& error) {
      failure = error.what();
      if (failure.empty()) failure = "capture failed";
    }
    const auto confirmed = agreement.confirm(failure.empty(), failure, std::hash<Key>{}(key));
    if (!confirmed.ok) {
      ++statistics_.failed_captures;
      failed_.insert(key);
      last_failure_ = confirmed.reason;
      return;
    }
    while (const std::optional<Key> victim = eviction_.victim(graphs_.size())) {
      statistics_.graph_bytes -= Backend::bytes(graphs_.at(*victim));
      graphs_.erase(*victim);
      eviction_.dropped(*victim);
      ++statistics_.evictions;
    }
    Backend::prepare(graph, stream);
    statistics_.graph_bytes += Backend::bytes(graph);
    graphs_.emplace(key, std::move(graph));
    ++statistics_.captures;
  }

  void note_use(const Step& step, const Key& key, int phase) {
    eviction_.used(key);
    const ShapeKey& shape = shape_of(key);
    const DpLayout& layout = step.layout();
    const auto first = static_cast<std::size_t>(layout.group_first_dp(step.rank()));
    const auto group = static_cast<std::size_t>(layout.group_dp());
    ++statistics_.replays;
    statistics_.rows += static_cast<std::uint64_t>(sum(step.tokens(phase).subspan(first, group)));
    statistics_.attention_rows += static_cast<std::uint64_t>(shape.local_len) * group;
    statistics_.ffn_rows += static_cast<std::uint64_t>(shape.global_len);
  }

  Sizes sizes_;
  Eviction eviction_;
  std::unordered_map<Key, typename Backend::graph_type> graphs_;
  std::unordered_set<Key> failed_;
  std::unordered_set<Key> noted_;  // captured by the engine itself
  GraphStatistics statistics_;
  std::string last_failure_;
  detail::GatherWatch watch_;
  EagerReason reason_ = EagerReason::caller;
  std::uint64_t generation_ = 0;
  bool running_ = false;
};

}  // namespace dpgather
