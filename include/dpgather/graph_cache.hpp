// GraphCache: capture once per key, replay after, run eagerly where no key fits.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/agree/step.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/range.hpp>
#include <dpgather/graph/backend.hpp>
#include <dpgather/graph/eviction.hpp>
#include <dpgather/graph/graph_key.hpp>
#include <dpgather/graph/host_graphs.hpp>
#include <dpgather/graph/select.hpp>
#include <dpgather/passenger_cache.hpp>
#include <dpgather/plan/capture_sizes.hpp>

namespace dpgather {

/// One per rank; all ranks make the same calls. One cache wraps the whole model. Captured work
/// reads what varies from fixed addresses (DpGather's counts, StaticInputs) and bakes everything
/// else. A communicator or gather that a graph holds must outlive it: destroy or `invalidate` the
/// cache first. An engine that captures by itself uses PassengerCache, or never calls `run`.
template <GraphKey Key = ShapeKey, SizePolicy Sizes = CaptureSizes,
          EvictionPolicy Eviction = KeepAll, GraphBackend Backend = HostGraphs>
class GraphCache : public PassengerCache<Key, Sizes, Eviction, typename Backend::graph_type> {
  using Base = PassengerCache<Key, Sizes, Eviction, typename Backend::graph_type>;

 public:
  using stream_type = typename Backend::stream_type;

  /// Throws InvalidArgument if the policy's budget cannot be.
  explicit GraphCache(Sizes sizes, Eviction eviction = {})
      : Base(std::move(sizes), std::move(eviction)) {}

  /// Runs `body(key, stream)`: at once if the shape is exact, else as a graph, which is captured if
  /// `key` is new. On a device a new key's step runs eagerly first, and its graph from the next
  /// step on. A capture runs nothing; it ends with `agreement.confirm`. If it failed on any rank, or
  /// its graph cannot be kept within the budget, the key stays eager on all ranks, this step
  /// included. Throws CapacityError if the step does not fit the key.
  template <class Agreement, std::invocable<const Key&, stream_type> Body>
  void run(const Step& step, const Key& key, stream_type stream, Agreement& agreement, Body&& body,
           int phase = 0) {
    const detail::Range range("dpgather graph");
    const ErrorContext where{step.rank(), step.index(), "GraphCache"};
    if (shape_of(key).is_static) this->check_fit(step, key, phase);
    this->watch_.check_begun(where);
    const typename Base::template Accounting<Agreement> accounting(this->ledger_, agreement,
                                                                   step.index());
    const auto eagerly = [&](EagerReason reason) {
      this->ledger_.eager(reason, key);
      body(key, stream);
    };
    if (!shape_of(key).is_static) return eagerly(std::exchange(this->reason_, EagerReason::caller));
    check_idle(where);
    if (may_capture(key)) {
      capture(key, stream, agreement, body);
      if constexpr (Backend::warms_up) return this->ledger_.eager(EagerReason::warm_up, key);
    }
    if (this->refused(key) != EagerReason::none) return eagerly(this->refused(key));
    const Running running{running_};
    Backend::launch(*this->ledger_.held().graph(key), stream, where);
    this->note_use(step, key, phase);
  }

  /// Captures all keys before serving, largest global len first, so that later ones fit into what
  /// it allocated. Where the budget has no room for all of them, the policy says which are held.
  template <class Agreement, std::invocable<const Key&, stream_type> Body>
  void capture_all(std::span<const Key> keys, stream_type stream, Agreement& agreement,
                   Body&& body) {
    std::vector<Key> order(keys.begin(), keys.end());
    std::stable_sort(order.begin(), order.end(), [](const Key& a, const Key& b) {
      return shape_of(a).global_len > shape_of(b).global_len;
    });
    const typename Base::template Accounting<Agreement> accounting(this->ledger_, agreement,
                                                                   agreement.next_step() - 1);
    check_idle({agreement.rank(), this->ledger_.step(), "GraphCache"});
    for (const Key& key : order)
      if (may_capture(key)) capture(key, stream, agreement, body);
  }

 private:
  struct Running {
    bool& flag;
    explicit Running(bool& f) : flag(f) { flag = true; }
    ~Running() { flag = false; }
  };
  void check_idle(const ErrorContext& where) const {
    require(!running_, where, "a graph is running already; one execution at a time");
  }
  /// A key that an engine noted has no graph here, so it may, too.
  [[nodiscard]] bool may_capture(const Key& key) {
    return this->refused(key) == EagerReason::none && this->ledger_.held().graph(key) == nullptr;
  }
  template <class Agreement, class Body>
  void capture(const Key& key, stream_type stream, Agreement& agreement, Body& body) {
    // An exception of the warm-up is one of an eager step: it passes, and nothing is captured.
    if constexpr (Backend::warms_up) body(key, stream);
    typename Backend::graph_type graph;
    std::string failure;
    std::uint64_t bytes = 0;
    try {
      graph = Backend::capture(stream, [&](stream_type recording) { body(key, recording); });
      bytes = Backend::bytes(graph);
    } catch (const std::exception& error) {
      failure = error.what();
      if (failure.empty()) failure = "capture failed";
    }
    const Admission<Key> admission =
        this->conclude(agreement, key, failure.empty(), failure, bytes);
    if (!admission.kept) return;
    Backend::prepare(graph, stream);
    const std::uint64_t own_bytes = Backend::bytes(graph);
    this->latest_bytes_ = own_bytes;
    this->ledger_.keep(key, std::move(graph), admission.bytes, own_bytes);
  }

  bool running_ = false;
};

}  // namespace dpgather
