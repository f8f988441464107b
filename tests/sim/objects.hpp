// What handles point to: streams, events, captures and graphs.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "sim/device.hpp"

namespace sim {

struct Node {
  Work work;
  std::vector<std::size_t> before;
  int device = 0;
};

struct Graph {
  int id = 0, rank = -1;
  std::vector<Node> nodes;
};

struct GraphExec {
  int id = 0, rank = -1;
  int device = 0;
  std::vector<Node> nodes;
  ItemPtr last = {};  // of its last launch
};

struct Stream;

struct Capture {
  unsigned long long id = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  const ThreadState* thread = nullptr;
  Stream* origin = nullptr;
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  std::vector<Stream*> streams = {};
  bool broken = false;
};

struct Stream {
  int id = 0, rank = -1;
  int device = 0;
  bool blocking = true;  // with respect to the legacy default stream
  bool legacy = false;
  bool of_thread = false;  // cudaStreamPerThread of some thread
  int priority = 0;
  ItemPtr tail = {};
  std::shared_ptr<Capture> capture = {};
  std::vector<std::size_t> frontier = {};  // of the capture: what the next node comes after
};

struct Event {
  int id = 0, rank = -1;
  int device = 0;
  bool timing = true;
  ItemPtr item = {};                      // what it marks
  std::shared_ptr<Capture> capture = {};  // or, if recorded in a capture,
  std::vector<std::size_t> nodes = {};
};

/// Objects by handle. Those destroyed stay in memory until the next run, so that no new object gets
/// the handle of an old one.
template <class T>
class Registry {
 public:
  T* add() {
    auto object = std::make_unique<T>();
    object->id = ++last_id_;
    object->rank = rank();
    T* const handle = object.get();
    live_.push_back(std::move(object));
    known_.insert(handle);
    return handle;
  }
  template <class Handle>
  T* find(Handle handle) const {
    auto* const object = reinterpret_cast<T*>(handle);
    return known_.count(object) != 0 ? object : nullptr;
  }
  void remove(T* object) {
    known_.erase(object);
    for (auto& o : live_)
      if (o.get() == object) {
        dead_.push_back(std::move(o));
        live_.erase(live_.begin() + (&o - live_.data()));
        return;
      }
  }
  [[nodiscard]] const std::vector<std::unique_ptr<T>>& live() const { return live_; }
  [[nodiscard]] const std::vector<std::unique_ptr<T>>& dead() const { return dead_; }
  /// Drops what ranks own.
  void drop_ranks() {
    dead_.clear();
    std::erase_if(live_, [this](auto& o) {
      if (o->rank >= 0) known_.erase(o.get());
      return o->rank >= 0;
    });
    last_id_ = 0;
    for (const auto& o : live_) last_id_ = std::max(last_id_, o->id);
  }

 private:
  std::vector<std::unique_ptr<T>> live_, dead_;
  std::unordered_set<const T*> known_;
  int last_id_ = 0;
};

Registry<Stream>& streams();
Registry<Event>& events();
Registry<Graph>& graphs();
Registry<GraphExec>& graph_execs();
/// Those that have begun and not ended.
std::vector<std::shared_ptr<Capture>>& captures();

/// Null for a handle that is none.
Stream* resolve(cudaStream_t handle);
std::string name_of(const Stream& stream);
/// As check_stream, on a resolved stream; null is cudaErrorInvalidResourceHandle.
cudaError_t check_stream(const Stream* stream);
/// Adds an eager item at the stream's end, and behind `also`.
void append(Stream& stream, const ItemPtr& item, std::vector<ItemPtr> also = {});
/// An item that does nothing, at the stream's end: it is done once all before it are.
ItemPtr append_marker(Stream& stream, std::vector<ItemPtr> also = {});
/// An item that runs `work`, which is issued now: counted, its on_launch called.
ItemPtr make_item(Work work, int device, const std::string& stream);
void add_node(Stream& stream, Work work);

/// A capture that was not begun as relaxed forbids this thread calls that no stream sees. Such a
/// call breaks it.
cudaError_t check_unsafe();
/// Waits until all streams of `device` are idle, those destroyed too.
cudaError_t wait_for_device(int device);
bool reach_each_other(int a, int b);
/// Breaks the capture, and says so.
cudaError_t break_capture(Capture& capture, cudaError_t error);

}  // namespace sim
