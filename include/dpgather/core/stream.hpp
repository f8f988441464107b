// Host streams: run at once, or be recorded and run again later with what was baked in.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/lifeline.hpp>

namespace dpgather {

/// The operations of one capture, in order. Replay runs them again on the same addresses with the
/// same arguments, as a CUDA graph does; whatever varies must be read from memory.
class Recording {
 public:
  template <std::invocable Op>
  void add(std::string_view name, Op op) {
    nodes_.push_back(std::make_unique<Node<Op>>(name, std::move(op)));
    bytes_ += sizeof(Node<Op>) + sizeof(nodes_[0]);
  }
  /// Keeps `lifeline` in the graph: replay refuses once its object is gone.
  void hold(const Lifeline& lifeline) { holds_.add(lifeline); }
  /// Refuses if something it holds is gone, or is set up for another step than `where` says.
  void replay(const ErrorContext& where = {.operation = "replay"}) const {
    holds_.check(where);
    for (const auto& node : nodes_) node->run();
  }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  /// What its operations take, without what they hold elsewhere.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
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
  std::size_t bytes_ = 0;
  Holds holds_;
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
  /// Host bookkeeping of the work around it: runs at once, and again at each replay of a recording.
  template <std::invocable Op>
  void on_launch(Op op) const {
    submit("on_launch", std::move(op));
  }
  void hold(const Lifeline& lifeline) const {
    if (recording_ != nullptr) recording_->hold(lifeline);
  }
  /// Host streams have done everything when a call returns.
  void synchronize() const {}

 private:
  Recording* recording_ = nullptr;
};

}  // namespace dpgather
