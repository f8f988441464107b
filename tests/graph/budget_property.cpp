// 10,000 random histories of a cache on 1, 2, 3 and 8 ranks: every rank against a plain model that
// knows what all ranks do, and histories in which one rank does something of its own.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/graph_cache.hpp>

#include "support/ranks.hpp"
#include "support/sanitized.hpp"
#include "support/seed.hpp"

using namespace dpgather;
using support::Random;
using test::expect;

namespace {

/// What a capture does on one rank: a function of history, key and how often it was captured, so
/// that the model knows it of all ranks.
struct Capture {
  bool ok = true;
  std::uint64_t bytes = 0;
  std::uint64_t later = 0;  // that making it ready takes
};

/// Graphs of these bytes; `Warm` as on a device.
template <bool Warm>
struct Sized {
  using stream_type = HostStream;
  using graph_type = std::unique_ptr<Capture>;
  static constexpr bool warms_up = Warm;
  static inline thread_local Capture next;
  static inline thread_local int launches = 0;

  template <class Body>
  static graph_type capture(HostStream, Body&& body) {
    Recording recording;
    body(HostStream(recording));
    if (!next.ok) throw std::runtime_error("no memory");
    return std::make_unique<Capture>(next);
  }
  // Null where a rank believes that a capture went well which did not.
  static void prepare(graph_type& graph, HostStream) {
    if (graph) graph->bytes += graph->later;
  }
  static void launch(const graph_type& graph, HostStream, const ErrorContext&) {
    launches += graph != nullptr;
  }
  static std::size_t bytes(const graph_type& graph) { return graph ? graph->bytes : 0; }
};

enum class Policy { keep_all, least_recently_used, least_benefit };

/// What every rank does in one history; the same on all ranks.
struct Story {
  int world = 1;
  Policy policy = Policy::keep_all;
  GraphBudget budget;
  std::int64_t half_life = 16;
  int keys = 1;
  int steps = 0;
  bool passenger = false;
  int late_percent = 0, fail_percent = 0, invalidate_percent = 0;
  std::uint64_t seed = 0;
  // Tampering: `odd` does something of its own from step `at` on.
  int odd = -1, at = 0, how = 0;

  static Story random(int world, std::uint64_t seed) {
    Random r(seed);
    Story h;
    h.world = world;
    h.seed = seed;
    h.policy = static_cast<Policy>(r.between(0, 2));
    if (r.chance(70)) h.budget.graphs = r.between(1, 6);
    if (r.chance(70)) h.budget.bytes = r.between(1, 4) * 100;
    h.half_life = r.between(10, 80);
    h.keys = static_cast<int>(r.between(1, 9));
    h.steps = static_cast<int>(r.between(5, 40));
    h.passenger = r.chance(25);
    if (r.chance(30)) h.late_percent = 30;
    if (r.chance(40)) h.fail_percent = 10;
    if (r.chance(30)) h.invalidate_percent = 5;
    if (world > 1 && r.chance(30)) {
      h.odd = static_cast<int>(r.between(0, world - 1));
      h.at = static_cast<int>(r.between(0, h.steps - 2));
      h.how = static_cast<int>(r.between(0, 4));
    }
    return h;
  }
  [[nodiscard]] Capture capture(int rank, int key, int times) const {
    Random r(seed * 1000003 + static_cast<std::uint64_t>((rank * 16 + key) * 1024 + times));
    Capture c;
    c.ok = !r.chance(fail_percent);
    c.bytes = static_cast<std::uint64_t>(r.chance(10) ? r.between(0, 500) : r.between(5, 60));
    if (!passenger && r.chance(late_percent))
      c.later = static_cast<std::uint64_t>(r.between(0, 90));
    return c;
  }
};

/// A cache of all ranks in one, without agreement, hashes or shared code: lists and plain loops.
class Model {
 public:
  struct Graph {
    int key;
    std::uint64_t bytes;
    std::uint64_t used;                                        // when
    std::vector<std::pair<std::uint64_t, std::int64_t>> rows;  // when, how many
  };
  explicit Model(const Story& h) : h_(h) {}

  /// Returns whether there is a graph to replay after this.
  void capture(int key) {
    const int times = times_[key]++;
    std::uint64_t bytes = 0, total = 0;
    bool ok = true;
    for (int rank = 0; rank < h_.world; ++rank) {
      const Capture c = h_.capture(rank, key, times);
      ok &= c.ok;
      bytes = std::max(bytes, c.bytes);
      total = std::max(total, c.bytes + c.later);
    }
    learn();
    if (!ok) {
      refused[key] = EagerReason::capture_failed;
      return;
    }
    const bool fits = h_.budget.bytes == 0 || bytes <= limit();
    if (fits && h_.policy != Policy::keep_all)
      while (!held.empty() && over(1, bytes)) drop(worst());
    if (!fits || over(1, bytes)) {
      refused[key] = EagerReason::over_budget;
      return;
    }
    held.push_back({key, bytes, ++clock_, {}});
    latest_ = key, latest_bytes_ = total;
  }
  void replay(int key, std::int64_t rows) {
    Graph& g = *find(key);
    g.used = ++clock_;
    g.rows.emplace_back(clock_, rows);
  }
  void invalidate() {
    held.clear();
    refused.clear();
  }
  [[nodiscard]] Graph* find(int key) {
    for (Graph& g : held)
      if (g.key == key) return &g;
    return nullptr;
  }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const Graph& g : held) sum += g.bytes;
    return sum;
  }
  [[nodiscard]] int captured(int key) { return times_[key]; }

  std::vector<Graph> held;
  std::map<int, EagerReason> refused;
  std::uint64_t evictions = 0;

 private:
  [[nodiscard]] std::uint64_t limit() const { return static_cast<std::uint64_t>(h_.budget.bytes); }
  [[nodiscard]] bool over(std::size_t more, std::uint64_t bytes_more) const {
    return (h_.budget.graphs > 0 &&
            held.size() + more > static_cast<std::size_t>(h_.budget.graphs)) ||
           (h_.budget.bytes > 0 && bytes() + bytes_more > limit());
  }
  /// What the latest graph takes since it was made ready is known by now.
  void learn() {
    Graph* const g = find(latest_);
    if (g == nullptr || g->bytes >= latest_bytes_) return;
    g->bytes = latest_bytes_;
    if (h_.budget.bytes > 0 &&
        (g->bytes > limit() || (h_.policy == Policy::keep_all && over(0, 0)))) {
      refused[latest_] = EagerReason::over_budget;
      drop(latest_);
    }
    if (h_.policy != Policy::keep_all)
      while (over(0, 0)) drop(worst());
  }
  void drop(int key) {
    std::erase_if(held, [key](const Graph& g) { return g.key == key; });
    ++evictions;
  }
  /// Rows are small and half-lives few here, so that the sums are exact.
  [[nodiscard]] double benefit(const Graph& g) const {
    const auto life = static_cast<std::uint64_t>(h_.half_life);
    double rows = 0;
    for (const auto& [when, n] : g.rows) {
      double counted = static_cast<double>(n);
      for (std::uint64_t i = when / life; i < clock_ / life; ++i) counted /= 2;
      rows += counted;
    }
    return rows;
  }
  [[nodiscard]] int worst() const {
    const Graph* first = &held[0];
    for (const Graph& g : held) {
      if (&g == first) continue;
      bool before = g.used < first->used;
      if (h_.policy == Policy::least_benefit) {
        const double mine =
            benefit(g) * static_cast<double>(std::max<std::uint64_t>(first->bytes, 1));
        const double its =
            benefit(*first) * static_cast<double>(std::max<std::uint64_t>(g.bytes, 1));
        before = mine < its || (mine == its && before);
      }
      if (before) first = &g;
    }
    return first->key;
  }

  const Story& h_;
  std::map<int, int> times_;
  int latest_ = -1;
  std::uint64_t latest_bytes_ = 0;
  std::uint64_t clock_ = 0;
};

ShapeKey key_of(int key, int world) {
  return {.local_len = (key + 1) * 4,
          .global_len = (key + 1) * 4 * world,
          .forward = Forward::decode,
          .is_static = true};
}

/// Passes all on, but for what `confirm` says.
struct Lying {
  StepAgreement<ThreadControl>& agreement;
  int how;
  Confirmation confirm(const CaptureEnd& end) {
    Confirmation said = agreement.confirm(end);
    if (how == 1) said.bytes += 1;
    if (how == 2) said = {.ok = !said.ok, .reason = "a lie"};
    return said;
  }
  void set_state(std::uint64_t state, std::string_view words) { agreement.set_state(state, words); }
  auto& history() { return agreement.history(); }
  [[nodiscard]] std::int64_t next_step() const { return agreement.next_step(); }
  [[nodiscard]] int rank() const { return agreement.rank(); }
};

struct Tally {
  int clean = 0, diverged = 0, unseen = 0;
  std::uint64_t evictions = 0, refusals = 0, replays = 0;
};

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

/// All ranks come with the same number.
bool same(test::Rank& rank, std::uint64_t mine) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(rank.control.size()));
  rank.control.post(std::as_bytes(std::span(&mine, 1)));
  rank.control.wait(std::as_writable_bytes(std::span(all)));
  return std::all_of(all.begin(), all.end(),
                     [&](std::uint64_t theirs) { return theirs == all[0]; });
}

template <class Eviction, bool Warm>
class Run {
 public:
  Run(test::Rank& rank, const Story& h, Eviction eviction)
      : rank_(rank),
        h_(h),
        agreement_(rank.control, rank.layout),
        graphs_(CaptureSizes::sglang(64), eviction),
        model_(h),
        liar_{agreement_, h.how} {}

  void operator()(Tally& counts) {
    Random r(h_.seed + 1);
    bool odd = false;  // one rank did something of its own, here or there
    for (int i = 0; i < h_.steps; ++i) {
      const int key = static_cast<int>(r.between(0, h_.keys - 1));
      const bool invalidate = r.chance(h_.invalidate_percent);
      const std::int64_t rows = r.between(1, 4);
      Step step;
      try {
        agreement_.post({.tokens = rows, .requests = rows, .forward = Forward::decode});
        step = agreement_.wait();
        expect(!odd || !must_be_seen(), "a rank that differs was not found at step ", i);
        serve(step, key, i);
      } catch (const DivergenceError& error) {
        expect(odd, "no rank differs, but ", error.what());
        judge(error);
        ++counts.diverged;
        return;
      }
      if (invalidate) {
        graphs_.invalidate(agreement_);
        model_.invalidate();
      }
      odd = odd || tamper(step, i);
      if (!odd) compare(i);
    }
    ++(odd ? counts.unseen : counts.clean);
    counts.evictions += graphs_.statistics().evictions;
    counts.refusals += graphs_.statistics().over_budget;
    counts.replays += graphs_.statistics().replays;
  }

 private:
  /// Everything but replays: those are found when a capture ends.
  [[nodiscard]] bool must_be_seen() const { return h_.how != 3; }

  /// The step as an engine does it, and in the model.
  void serve(const Step& step, int key, int i) {
    const ShapeKey shape = key_of(key, h_.world);
    const bool lies = rank_.rank() == h_.odd && i >= h_.at && (h_.how == 1 || h_.how == 2);
    if (h_.passenger) {
      if (!graphs_.holds(shape) && graphs_.refused(shape) == EagerReason::none) {
        const Capture c = h_.capture(rank_.rank(), key, model_.captured(key));
        const auto admission =
            lies ? graphs_.end_capture(liar_, shape, c.ok, "no memory", c.bytes)
                 : graphs_.end_capture(agreement_, shape, c.ok, "no memory", c.bytes);
        model_.capture(key);
        for (const ShapeKey& gone : admission.dropped)
          expect(!graphs_.holds(gone) && gone != shape, "the graph that is run goes");
      }
      if (graphs_.holds(shape)) {
        graphs_.note_replay(step, shape);
        if (model_.find(key) != nullptr) model_.replay(key, sum(step.tokens()));
      } else {
        graphs_.note_eager(graphs_.refused(shape));
      }
      return;
    }
    Sized<Warm>::next = h_.capture(rank_.rank(), key, model_.captured(key));
    const int launches = Sized<Warm>::launches;
    int bodies = 0;
    const auto body = [&](const ShapeKey&, HostStream) { ++bodies; };
    if (lies)
      graphs_.run(step, shape, HostStream{}, liar_, body);
    else
      graphs_.run(step, shape, HostStream{}, agreement_, body);
    const bool captures = model_.find(key) == nullptr && !model_.refused.contains(key);
    if (captures) model_.capture(key);
    const bool replays = model_.find(key) != nullptr && !(captures && Warm);
    if (replays) model_.replay(key, sum(step.tokens()));
    if (h_.odd >= 0) return;  // bodies of ranks that differ are not counted
    expect(Sized<Warm>::launches - launches == (replays ? 1 : 0), "replayed at step ", i);
    const bool eager = !replays && !(captures && Warm);
    expect(bodies == (captures ? 1 + Warm : 0) + eager, "the body ran ", bodies, " times");
  }

  /// What rank `odd` does of its own. Whether ranks differ now, said by all of them.
  bool tamper(const Step& step, int i) {
    if (h_.odd < 0 || i < h_.at) return false;
    const bool mine = rank_.rank() == h_.odd;
    if (h_.how == 1 || h_.how == 2) return !same(rank_, facts());  // it lied in a capture, if any
    if (i > h_.at) return false;
    if (h_.how == 3) {
      if (model_.held.empty()) return false;
      if (mine) graphs_.note_replay(step, key_of(model_.held[0].key, h_.world));
    } else if (mine && h_.how == 0) {
      graphs_.invalidate(agreement_);
    } else if (mine) {
      agreement_.set_state(graphs_.state() + 1, "something else");
    }
    return true;
  }
  /// What must be the same on all ranks, without the cache's own hash of it.
  [[nodiscard]] std::uint64_t facts() const {
    Hash hash;
    for (int key = 0; key < h_.keys; ++key)
      hash.add(graphs_.holds(key_of(key, h_.world))).add(graphs_.refused(key_of(key, h_.world)));
    const auto& s = graphs_.statistics();
    return hash.add(s.agreed_bytes).add(s.failed_captures).add(s.over_budget).value();
  }

  void compare(int i) {
    const auto& s = graphs_.statistics();
    expect(graphs_.size() == model_.held.size(), "step ", i, ": ", graphs_.size(),
           " graphs, expected ", model_.held.size());
    for (int key = 0; key < h_.keys; ++key) {
      const ShapeKey shape = key_of(key, h_.world);
      expect(graphs_.holds(shape) == (model_.find(key) != nullptr), "step ", i, ": key ", key);
      const auto refused = model_.refused.find(key);
      expect(graphs_.refused(shape) ==
                 (refused == model_.refused.end() ? EagerReason::none : refused->second),
             "step ", i, ": refusal of key ", key);
    }
    expect(s.agreed_bytes == model_.bytes() && s.evictions == model_.evictions, "step ", i, ": ",
           s.agreed_bytes, " bytes, expected ", model_.bytes());
    expect(h_.budget.bytes == 0 || s.agreed_bytes <= static_cast<std::uint64_t>(h_.budget.bytes),
           "above the bytes");
    expect(h_.budget.graphs == 0 || graphs_.size() <= static_cast<std::size_t>(h_.budget.graphs),
           "above the number");
  }

  /// Same on every rank, both states named, and the first entry that differs is marked.
  void judge(const DivergenceError& error) {
    const std::string& table = agreement_.last_divergence();
    const std::string odd = concat("rank ", h_.odd);
    expect(has(error.what(), error.detail() + "\n") && has(table, "\n>"), error.what());
    if (must_be_seen()) {
      expect(error.detail().find("state of the graph cache differs: ") == 0, error.detail());
      expect(has(error.detail(), odd + ": ") && has(error.detail(), " graph"), error.detail());
      expect(has(table, " " + odd + " ") || has(table, " " + odd + "\n"), table);
    } else {
      expect(has(error.detail(), "replayed other graphs"), error.detail());
    }
    expect(same(rank_, Hash{}.add(error.detail()).add(table).value()), "ranks were told otherwise");
  }

  test::Rank& rank_;
  const Story& h_;
  StepAgreement<ThreadControl> agreement_;
  GraphCache<ShapeKey, CaptureSizes, Eviction, Sized<Warm>> graphs_;
  Model model_;
  Lying liar_;
};

template <class Eviction>
void run(test::Rank& rank, const Story& story, Eviction eviction, Tally& counts) {
  if (story.seed % 2 == 0)
    Run<Eviction, false>(rank, story, eviction)(counts);
  else
    Run<Eviction, true>(rank, story, eviction)(counts);
}

constexpr int stories = support::sanitized ? 250 : 2500;  // of each number of ranks

}  // namespace

TEST_CASE("all ranks hold the keys that a plain model holds, and a rank that differs is found") {
  const std::uint64_t seed = support::seed("graphs within a budget", 20261126);
  for (const int world : {1, 2, 3, 8}) {
    Tally counts;
    test::on_ranks({.dp = world}, [&](test::Rank& rank) {
      Tally mine;
      for (int i = 0; i < stories; ++i) {
        const Story story =
            Story::random(world, seed + static_cast<std::uint64_t>(world) * 1000000 +
                                     static_cast<std::uint64_t>(i));
        try {
          switch (story.policy) {
            case Policy::keep_all:
              run(rank, story, KeepAll{story.budget}, mine);
              break;
            case Policy::least_recently_used:
              run(rank, story, LeastRecentlyUsed{story.budget}, mine);
              break;
            case Policy::least_benefit:
              run(rank, story, LeastBenefit{story.budget, story.half_life}, mine);
              break;
          }
        } catch (const std::exception& error) {
          throw std::logic_error(concat("history ", i, " of ", world, " ranks, rank ", rank.rank(),
                                        ", tampered with in way ", story.odd < 0 ? -1 : story.how,
                                        ": ", error.what()));
        }
      }
      if (rank.rank() == 0) counts = mine;
    });
    MESSAGE(world, " ranks: ", counts.clean, " histories, ", counts.diverged,
            " with one rank that was found, ", counts.unseen,
            " with one that did nothing to be found; ", counts.replays, " replays, ",
            counts.evictions, " evictions, ", counts.refusals, " graphs not kept");
    CHECK(counts.clean > stories / 2);
    CHECK(counts.evictions > static_cast<std::uint64_t>(stories) / 2);
    CHECK(counts.refusals > static_cast<std::uint64_t>(stories) / 4);
    if (world > 1) CHECK(counts.diverged > stories / 8);
  }
}
