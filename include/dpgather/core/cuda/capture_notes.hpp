// What the library leaves with a capture that CUDA itself has no place for.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

#include <dpgather/core/cuda/capture_listener.hpp>
#include <dpgather/core/lifeline.hpp>

namespace dpgather {

/// Of one captured graph: what must outlive it, and host bookkeeping for each launch (rows moved,
/// elements moved). An engine that captures by itself opens a CaptureScope around its capture, and
/// calls `launched` whenever it launches the graph.
class CaptureNotes {
 public:
  void hold(const Lifeline& lifeline) { holds_.add(lifeline); }
  template <std::invocable Op>
  void on_launch(Op op) {
    ops_.emplace_back(std::move(op));
  }
  /// Throws GraphError if something held is gone or began another step; call it before a launch.
  void check(const ErrorContext& where) const { holds_.check(where); }
  /// Call it after a launch.
  void launched() const {
    for (const auto& op : ops_) op();
  }

 private:
  Holds holds_;
  std::vector<std::function<void()>> ops_;
};

/// While it lives, captured work of this thread is noted in `notes`. Scopes nest; the innermost
/// counts. One that ends with an exception abandons the capture.
class CaptureScope {
 public:
  explicit CaptureScope(CaptureNotes& notes) : outer_(std::exchange(current(), &notes)) {}
  CaptureScope(const CaptureScope&) = delete;
  CaptureScope& operator=(const CaptureScope&) = delete;
  ~CaptureScope() {
    current() = outer_;
    if (std::uncaught_exceptions() > exceptions_) CaptureListener::abandon();
  }

  [[nodiscard]] static CaptureNotes*& current() noexcept {
    thread_local CaptureNotes* notes = nullptr;
    return notes;
  }

 private:
  CaptureNotes* outer_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace dpgather
