// The graphs that a cache holds, the keys that stay eager, and who goes to keep the budget.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/graph/eviction/policy.hpp>
#include <dpgather/graph/graph_key.hpp>
#include <dpgather/graph/statistics.hpp>

namespace dpgather::detail {

/// All but the graphs themselves and `own_bytes` follows from agreed records: the same on all ranks.
template <GraphKey Key, class Graph, EvictionPolicy Eviction>
class HeldGraphs {
 public:
  explicit HeldGraphs(Eviction eviction) : eviction_(std::move(eviction)) {
    eviction_.budget.check();
    if constexpr (requires { eviction_.check(); }) eviction_.check();
  }

  [[nodiscard]] bool contains(const Key& key) const { return held_.contains(key); }
  /// Null if there is none, or the engine holds it.
  [[nodiscard]] Graph* graph(const Key& key) {
    const auto at = held_.find(key);
    return at == held_.end() || !at->second.graph ? nullptr : &*at->second.graph;
  }
  [[nodiscard]] std::size_t size() const { return held_.size(); }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t bytes_of(const Key& key) const {
    const auto at = held_.find(key);
    return at == held_.end() ? 0 : at->second.use.bytes;
  }
  /// On this rank.
  [[nodiscard]] std::uint64_t own_bytes() const { return own_bytes_; }
  [[nodiscard]] const Eviction& eviction() const { return eviction_; }

  /// Why `key` stays eager until `clear`; none if it may be captured.
  [[nodiscard]] EagerReason refused(const Key& key) const {
    const auto at = refused_.find(key);
    return at == refused_.end() ? EagerReason::none : at->second;
  }
  void refuse(const Key& key, EagerReason reason) { refused_.insert_or_assign(key, reason); }

  /// `graphs` more of `bytes` together would be above the budget.
  [[nodiscard]] bool crowded(std::uint64_t graphs, std::uint64_t bytes) const {
    const GraphBudget& limit = eviction_.budget;
    return (limit.graphs > 0 && size() + graphs > static_cast<std::uint64_t>(limit.graphs)) ||
           (limit.bytes > 0 && bytes_ + limited(bytes) > static_cast<std::uint64_t>(limit.bytes));
  }
  /// A graph of `bytes` could be kept if all others were gone.
  [[nodiscard]] bool fits_alone(std::uint64_t bytes) const {
    const std::int64_t limit = eviction_.budget.bytes;
    return limit == 0 || limited(bytes) <= static_cast<std::uint64_t>(limit);
  }
  /// Who goes first. There must be one.
  [[nodiscard]] Key victim() const requires(Eviction::evicts) {
    const auto first = [this](const auto& left, const auto& right) {
      const GraphUse &a = left.second.use, &b = right.second.use;
      if (eviction_.goes_first(a, b, clock_)) return true;
      return !eviction_.goes_first(b, a, clock_) && a.last_use < b.last_use;
    };
    return std::min_element(held_.begin(), held_.end(), first)->first;
  }

  void insert(const Key& key, std::optional<Graph> graph, std::uint64_t bytes,
              std::uint64_t own_bytes) {
    erase(key);
    refused_.erase(key);
    ++clock_;
    const GraphUse use{.bytes = limited(bytes), .last_use = clock_, .scored = clock_};
    held_.emplace(key, Held{use, own_bytes, std::move(graph)});
    bytes_ += use.bytes;
    own_bytes_ += own_bytes;
    keys_ += mark(key);
  }
  void erase(const Key& key) {
    const auto at = held_.find(key);
    if (at == held_.end()) return;
    bytes_ -= at->second.use.bytes;
    own_bytes_ -= at->second.own_bytes;
    keys_ -= mark(key);
    held_.erase(at);
  }
  /// Keys of `these` that were refused may be captured again.
  template <class These>
  void forgive(const These& these) {
    std::erase_if(refused_, [&](const auto& entry) { return these(entry.first); });
  }
  /// `key`'s graph, if it is held, turned out to take `bytes`.
  void grow(const Key& key, std::uint64_t bytes) {
    const auto at = held_.find(key);
    if (at == held_.end()) return;
    GraphUse& use = at->second.use;
    bytes_ += limited(bytes) - use.bytes;
    use.bytes = limited(bytes);
  }
  /// Keys that were refused may be captured again.
  void clear() {
    held_.clear();
    refused_.clear();
    bytes_ = own_bytes_ = keys_ = 0;
  }
  /// A replay of `rows`; returns the graph's bytes.
  std::uint64_t used(const Key& key, std::uint64_t rows) {
    GraphUse& use = held_.at(key).use;
    use.last_use = ++clock_;
    if constexpr (Eviction::evicts) eviction_.used(use, rows, clock_);
    uses_ = Hash{}.add(uses_).add(mark(key)).add(rows).value();
    return use.bytes;
  }

  /// Of the keys held, in any order, and of what they take.
  [[nodiscard]] std::uint64_t state() const {
    return Hash{}.add(size()).add(keys_).add(bytes_).value();
  }
  /// Of all replays in their order: what victims depend on.
  [[nodiscard]] std::uint64_t uses() const { return Hash{}.add(uses_).add(clock_).value(); }
  /// The latest used first, so in the same order on all ranks.
  [[nodiscard]] std::vector<const Key*> by_use() const {
    std::vector<const Key*> keys;
    for (const auto& [key, held] : held_) keys.push_back(&key);
    std::sort(keys.begin(), keys.end(), [this](const Key* a, const Key* b) {
      return held_.at(*a).use.last_use > held_.at(*b).use.last_use;
    });
    return keys;
  }
  /// "2 graphs (max_len decode 4/8, max_len decode 2/4) of 4096 bytes": local and global len of the
  /// latest used.
  [[nodiscard]] std::string to_string() const {
    if (held_.empty()) return "no graph";
    const std::vector<const Key*> latest = by_use();
    std::string text = concat(size(), size() == 1 ? " graph (" : " graphs (");
    for (std::size_t i = 0; i < std::min<std::size_t>(latest.size(), 4); ++i) {
      const ShapeKey& shape = shape_of(*latest[i]);
      text += concat(i == 0 ? "" : ", ", name(shape.transport), " ", name(shape.forward), " ",
                     shape.local_len, "/", shape.global_len);
    }
    return concat(text, latest.size() > 4 ? ", ...) of " : ") of ", bytes_, " bytes");
  }

 private:
  struct Held {
    GraphUse use;
    std::uint64_t own_bytes;
    std::optional<Graph> graph;  // none if the engine holds it
  };

  /// More than any device has; keeps sums from overflowing where a rank reports nonsense.
  [[nodiscard]] static std::uint64_t limited(std::uint64_t bytes) {
    return std::min(bytes, std::uint64_t{1} << 48);
  }
  /// Well mixed, since marks are summed up.
  [[nodiscard]] static std::uint64_t mark(const Key& key) {
    return Hash{}.add(std::hash<Key>{}(key)).value();
  }

  Eviction eviction_;
  std::unordered_map<Key, Held> held_;
  std::unordered_map<Key, EagerReason> refused_;
  std::uint64_t clock_ = 0;  // captures and replays
  std::uint64_t bytes_ = 0;
  std::uint64_t own_bytes_ = 0;
  std::uint64_t keys_ = 0;  // a sum of marks, so that order does not matter
  std::uint64_t uses_ = 0;
};

}  // namespace dpgather::detail
