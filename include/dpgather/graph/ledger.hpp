// What becomes of captured graphs, as a pure function of agreed facts, and the account of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/core/history.hpp>
#include <dpgather/graph/eviction/policy.hpp>
#include <dpgather/graph/graph_key.hpp>
#include <dpgather/graph/held_graphs.hpp>
#include <dpgather/graph/statistics.hpp>

namespace dpgather {

/// What all ranks do about a graph that was captured.
template <class Key>
struct Admission {
  bool kept = true;          ///< if not, its key stays eager
  std::uint64_t bytes = 0;   ///< agreed
  std::vector<Key> dropped;  ///< whose graphs go for it
};

namespace detail {

template <GraphKey Key, class Graph, EvictionPolicy Eviction>
class GraphLedger {
 public:
  explicit GraphLedger(Eviction eviction) : held_(std::move(eviction)) { changed(); }

  [[nodiscard]] HeldGraphs<Key, Graph, Eviction>& held() { return held_; }
  [[nodiscard]] const HeldGraphs<Key, Graph, Eviction>& held() const { return held_; }
  [[nodiscard]] const GraphStatistics& statistics() const { return statistics_; }
  [[nodiscard]] std::uint64_t generation() const { return generation_; }

  /// Where entries go from now on, and the step that they are of.
  void write_to(const std::shared_ptr<RankHistory>& history) {
    if (history_ != history) history_ = history;
  }
  void begin(std::int64_t step) { step_ = step; }
  [[nodiscard]] std::int64_t step() const { return step_; }

  /// A capture failed on some rank.
  Admission<Key> fail(const Key& key) {
    ++statistics_.failed_captures;
    return refuse(key, EagerReason::capture_failed, 0);
  }
  /// Makes room for a graph of `bytes`; it is not kept yet.
  [[nodiscard]] Admission<Key> admit(const Key& key, std::uint64_t bytes) {
    held_.erase(key);  // an engine may capture anew what it has
    Admission<Key> admission{.bytes = bytes, .dropped = {}};
    if (held_.fits_alone(bytes)) make_room(1, bytes, admission.dropped);
    if (!held_.crowded(1, bytes)) return admission;
    ++statistics_.over_budget;
    return refuse(key, EagerReason::over_budget, bytes);
  }
  void keep(const Key& key, std::optional<Graph> graph, std::uint64_t bytes,
            std::uint64_t own_bytes) {
    held_.insert(key, std::move(graph), bytes, own_bytes);
    latest_ = key;
    ++statistics_.captures;
    note(Did::capture, key, bytes);
    changed();
  }
  /// The graph kept last takes `bytes` since it was made ready, which was after it was agreed.
  void grow(std::uint64_t bytes) {
    if (!latest_ || !held_.contains(*latest_) || held_.bytes_of(*latest_) >= bytes) return;
    held_.grow(*latest_, bytes);
    if (!held_.fits_alone(held_.bytes_of(*latest_)) || (!Eviction::evicts && held_.crowded(0, 0))) {
      drop(*latest_);
      refuse(*latest_, EagerReason::over_budget, 0);
    }
    std::vector<Key> dropped;
    make_room(0, 0, dropped);
    changed();
  }
  template <class Gone>
  [[nodiscard]] std::vector<Key> drop_if(const Gone& gone) {
    std::vector<Key> dropped;
    for (const Key* key : held_.by_use())
      if (gone(*key)) dropped.push_back(*key);
    for (const Key& key : dropped) drop(key);
    held_.forgive(gone);
    changed();
    return dropped;
  }
  /// Sizes will be others from the next step on: `sizes` is of them.
  void announce(std::uint64_t sizes) {
    sizes_ = sizes;
    ++statistics_.retunings;
    note(Did::retune, Key{}, 0);
    changed();
  }
  void clear() {
    note(Did::invalidate, Key{}, held_.bytes());
    held_.clear();
    ++generation_;
    ++statistics_.invalidations;
    changed();
  }
  /// A replay with the rows of the DP ranks of one FFN group.
  void replay(const Key& key, Counts group) {
    note(Did::replay, key, held_.used(key, statistics_.add_replay(shape_of(key), group)));
  }
  void eager(EagerReason reason, const Key& key) {
    ++statistics_.eager[static_cast<std::size_t>(reason)];
    note(Did::eager, key, 0, name(reason));
  }

  /// Of what is held, and of what was captured, failed and dropped; the same on all ranks.
  [[nodiscard]] std::uint64_t state() const { return state_; }
  [[nodiscard]] const std::string& words() const { return words_; }

 private:
  Admission<Key> refuse(const Key& key, EagerReason reason, std::uint64_t bytes) {
    held_.refuse(key, reason);
    note(Did::capture, key, bytes, name(reason));
    changed();
    return {.kept = false, .bytes = bytes, .dropped = {}};
  }
  void drop(const Key& key) {
    note(Did::drop, key, held_.bytes_of(key));
    held_.erase(key);
    ++statistics_.evictions;
  }
  void make_room(std::uint64_t graphs, std::uint64_t bytes, std::vector<Key>& dropped) {
    if constexpr (Eviction::evicts)
      while (held_.size() > 0 && held_.crowded(graphs, bytes)) {
        dropped.push_back(held_.victim());
        drop(dropped.back());
      }
  }
  void note(Did did, const Key& key, std::uint64_t bytes, std::string_view why = {}) {
    if (!history_) return;
    HistoryEntry entry{.step = step_, .bytes = bytes, .did = did};
    if (const ShapeKey& shape = shape_of(key); shape.local_len > 0) {
      entry.key = std::hash<Key>{}(key);
      entry.local_len = static_cast<std::int32_t>(shape.local_len);
      entry.global_len = static_cast<std::int32_t>(shape.global_len);
    }
    entry.set_note(why);
    history_->add(entry);
  }
  /// Words are made here, not every step.
  void changed() {
    statistics_.graph_bytes = held_.own_bytes();
    statistics_.agreed_bytes = held_.bytes();
    const GraphStatistics& s = statistics_;
    state_ = Hash{}
                 .add(generation_)
                 .add(s.captures)
                 .add(s.failed_captures)
                 .add(s.over_budget)
                 .add(s.evictions)
                 .add(sizes_)
                 .add(held_.state())
                 .value();
    words_ = held_.to_string();
    for (const auto& [count, what] : {std::pair{s.captures, " captured"},
                                      {s.failed_captures, " failed"},
                                      {s.over_budget, " over budget"},
                                      {s.evictions, " evicted"},
                                      {s.retunings, " times other sizes"},
                                      {s.invalidations, " times all dropped"}})
      if (count > 0) words_ += concat(", ", count, what);
  }

  HeldGraphs<Key, Graph, Eviction> held_;
  GraphStatistics statistics_;
  std::optional<Key> latest_;
  std::shared_ptr<RankHistory> history_;
  std::int64_t step_ = -1;
  std::uint64_t generation_ = 0;
  std::uint64_t sizes_ = 0;  // since they were tuned anew
  std::uint64_t state_ = 0;
  std::string words_;
};

}  // namespace detail
}  // namespace dpgather
