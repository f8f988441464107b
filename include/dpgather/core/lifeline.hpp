// What captured work holds: objects that must outlive it, and host bookkeeping of each launch.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>

namespace dpgather {

/// Counts the graphs that hold an object (a communicator, a buffer) and tells them when it is gone.
class Lifeline {
 public:
  struct State {
    bool alive = true;
    std::string name;
    std::int64_t step = -1;  ///< that the object is set up for; negative if it has no steps
  };
  explicit Lifeline(std::string name)
      : state_(std::make_shared<State>(State{true, std::move(name), -1})) {}
  Lifeline(Lifeline&&) noexcept = default;
  Lifeline& operator=(Lifeline&&) = delete;
  /// A live graph over a dead object is reported, not thrown: destructors cannot.
  ~Lifeline() {
    if (!state_) return;
    state_->alive = false;
    if (holders() == 0) return;
    const std::string text = concat(state_->name, " was destroyed while ", holders(),
                                    " captured graphs hold it; destroy graphs first");
    destructor_error_handler()(text.c_str());
  }
  void set_step(std::int64_t step) { state_->step = step; }
  [[nodiscard]] long holders() const { return state_.use_count() - 1; }
  [[nodiscard]] std::shared_ptr<const State> hold() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

/// The lifelines of one graph, once each.
class Holds {
 public:
  void add(const Lifeline& lifeline) {
    for (const auto& held : held_)
      if (held == lifeline.hold()) return;
    held_.push_back(lifeline.hold());
  }
  /// Throws GraphError if something held is gone, or is set up for another step than `where` says.
  void check(const ErrorContext& where) const {
    for (const auto& held : held_) {
      require<GraphError>(held->alive, where, held->name,
                          ", which this graph holds, was destroyed");
      require<GraphError>(
          where.step < 0 || held->step < 0 || held->step == where.step, where, held->name,
          " began step ", held->step,
          ", not this one: call begin_step every step, before the graph and not inside it");
    }
  }
  [[nodiscard]] std::size_t size() const { return held_.size(); }

 private:
  std::vector<std::shared_ptr<const Lifeline::State>> held_;
};

}  // namespace dpgather
