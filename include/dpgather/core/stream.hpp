// Host streams: run at once, or be recorded and run again later with what was baked in.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
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

/// The operations of one capture, in order. Replay runs them again on the same addresses with the
/// same arguments, as a CUDA graph does; whatever varies must be read from memory.
class Recording {
 public:
  template <std::invocable Op>
  void add(std::string_view name, Op op) {
    nodes_.push_back(std::make_unique<Node<Op>>(name, std::move(op)));
  }
  /// Keeps `lifeline` in the graph: replay refuses once its object is gone.
  void hold(const Lifeline& lifeline) {
    for (const auto& held : held_)
      if (held == lifeline.hold()) return;
    held_.push_back(lifeline.hold());
  }
  /// Refuses if something it holds is gone, or is set up for another step than `where` says.
  void replay(const ErrorContext& where = {.operation = "replay"}) const {
    for (const auto& held : held_) {
      require<GraphError>(held->alive, where, held->name,
                          ", which this graph holds, was destroyed");
      require<GraphError>(
          where.step < 0 || held->step < 0 || held->step == where.step, where, held->name,
          " began step ", held->step,
          ", not this one: call begin_step every step, before the graph and not inside it");
    }
    for (const auto& node : nodes_) node->run();
  }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  [[nodiscard]] std::string_view operation(std::size_t i) const { return nodes_[i]->name; }

 private:
  struct NodeBase {
    explicit NodeBase(std::string_view n) : name(n) {}
    virtual ~NodeBase() = default;
    virtual void run() = 0;
    std::string name;
  };
  template <class Op>
  struct Node final : NodeBase {
    Node(std::string_view n, Op o) : NodeBase(n), op(std::move(o)) {}
    void run() override { op(); }
    Op op;
  };
  std::vector<std::unique_ptr<NodeBase>> nodes_;
  std::vector<std::shared_ptr<const Lifeline::State>> held_;
};

/// Handle to an in-order host stream; a value, cheap to copy. Eager work runs inside `submit` and
/// its exceptions pass through; on a capturing stream `submit` only records.
class HostStream {
 public:
  HostStream() = default;
  explicit HostStream(Recording& recording) : recording_(&recording) {}

  [[nodiscard]] bool capturing() const { return recording_ != nullptr; }

  /// `op` is taken by value: what it captures is baked into a recording.
  template <std::invocable Op>
  void submit(std::string_view name, Op op) const {
    if (recording_ != nullptr)
      recording_->add(name, std::move(op));
    else
      op();
  }
  void hold(const Lifeline& lifeline) const {
    if (recording_ != nullptr) recording_->hold(lifeline);
  }

 private:
  Recording* recording_ = nullptr;
};

}  // namespace dpgather
