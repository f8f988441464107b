#include <algorithm>

#include "sim/objects.hpp"

namespace sim {
namespace {

[[maybe_unused]] const bool dropped_each_run = [] {
  on_reset([] {
    captures().clear();
    for (auto& stream : streams().live()) {
      stream->tail = nullptr;
      stream->capture = nullptr;
    }
    for (auto& event : events().live()) {
      event->item = nullptr;
      event->capture = nullptr;
    }
    for (auto& exec : graph_execs().live()) exec->last = nullptr;
    streams().drop_ranks();
    events().drop_ranks();
    graphs().drop_ranks();
    graph_execs().drop_ranks();
  });
  return true;
}();

/// Default streams belong to no rank: they stay.
Stream& default_stream(int device) {
  for (auto& stream : streams().live())
    if (stream->legacy && stream->device == device) return *stream;
  Stream& stream = *streams().add();
  stream.rank = -1;
  stream.device = device;
  stream.legacy = true;
  return stream;
}

Stream& stream_of_thread(int device) {
  auto& own = this_thread().own_streams;
  own.resize(std::max(own.size(), static_cast<std::size_t>(device) + 1));
  void*& handle = own[static_cast<std::size_t>(device)];
  Stream* stream = handle == nullptr ? nullptr : streams().find(handle);
  if (stream == nullptr) {
    stream = streams().add();
    stream->device = device;
    stream->of_thread = true;
    handle = stream;
  }
  return *stream;
}

}  // namespace

#define SIM_REGISTRY(Type, name)                      \
  Registry<Type>& name() {                            \
    static auto* const registry = new Registry<Type>; \
    return *registry;                                 \
  }
SIM_REGISTRY(Stream, streams)
SIM_REGISTRY(Event, events)
SIM_REGISTRY(Graph, graphs)
SIM_REGISTRY(GraphExec, graph_execs)

std::vector<std::shared_ptr<Capture>>& captures() {
  static auto* const list = new std::vector<std::shared_ptr<Capture>>;
  return *list;
}

int current_device() {
  return this_thread().device;
}

Stream* resolve(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return &default_stream(current_device());
  if (handle == cudaStreamPerThread) return &stream_of_thread(current_device());
  return streams().find(handle);
}

std::string name_of(const Stream& stream) {
  return (stream.legacy ? std::string("the default stream")
                        : "stream " + std::to_string(stream.id)) +
         " of device " + std::to_string(stream.device);
}
std::string name_of(cudaStream_t handle) {
  const Stream* const stream = resolve(handle);
  return stream == nullptr ? "a stream that does not exist" : name_of(*stream);
}

int device_of(cudaStream_t handle) {
  const Stream* const stream = resolve(handle);
  return stream == nullptr ? current_device() : stream->device;
}

cudaError_t check_stream(const Stream* stream) {
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (device_error(stream->device) != cudaSuccess) return device_error(stream->device);
  if (stream->capture != nullptr && stream->capture->broken)
    return cudaErrorStreamCaptureInvalidated;
  if (stream->legacy) {
    bool blocked = false;
    for (const auto& capture : captures())
      for (const Stream* s : capture->streams)
        if (s->blocking && s->device == stream->device) {
          capture->broken = true;
          blocked = true;
        }
    if (blocked) return cudaErrorStreamCaptureImplicit;
  }
  return cudaSuccess;
}
cudaError_t check_stream(cudaStream_t handle) {
  return check_stream(resolve(handle));
}

bool capturing(cudaStream_t handle) {
  const Stream* const stream = resolve(handle);
  return stream != nullptr && stream->capture != nullptr;
}

void append(Stream& stream, const ItemPtr& item, std::vector<ItemPtr> also) {
  also.push_back(stream.tail);
  // The legacy default stream and the device's blocking streams wait for each other.
  if (stream.blocking)
    for (const auto& other : streams().live())
      if (other->device == stream.device && other->blocking && (stream.legacy || other->legacy))
        also.push_back(other->tail);
  std::sort(also.begin(), also.end());
  also.erase(std::unique(also.begin(), also.end()), also.end());
  item->stream = name_of(stream);
  submit(item, also);
  stream.tail = item;
  progress();
}

ItemPtr append_marker(Stream& stream, std::vector<ItemPtr> also) {
  auto item = std::make_shared<Item>();
  item->marker = true;
  item->device = stream.device;
  append(stream, item, std::move(also));
  return item;
}

ItemPtr make_item(Work work, int device, const std::string& stream) {
  auto item = std::make_shared<Item>();
  if (work.rank < 0) work.rank = rank();
  count(work.kind);
  if (work.on_launch) {
    const auto on_launch = std::move(work.on_launch);
    work.on_launch = nullptr;
    on_launch(work);
  }
  item->work = std::move(work);
  item->device = device;
  item->stream = stream;
  return item;
}

void add_node(Stream& stream, Work work) {
  auto& nodes = stream.capture->graph->nodes;
  if (work.rank < 0) work.rank = rank();
  nodes.push_back({std::move(work), stream.frontier, stream.device});
  stream.frontier = {nodes.size() - 1};
}

cudaError_t enqueue(cudaStream_t handle, Work work) {
  Stream* const stream = resolve(handle);
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (work.kind == Count::kernel && stream->device != current_device())
    return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) {
    add_node(*stream, std::move(work));
    progress();
  } else {
    append(*stream, make_item(std::move(work), stream->device, name_of(*stream)));
  }
  return cudaSuccess;
}

cudaError_t break_capture(Capture& capture, cudaError_t error) {
  capture.broken = true;
  return error;
}

cudaError_t check_unsafe() {
  const cudaStreamCaptureMode mode = this_thread().capture_mode;
  if (mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  cudaError_t result = cudaSuccess;
  for (auto& capture : captures()) {
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    const bool mine = capture->thread == &this_thread();
    const bool global =
        mode == cudaStreamCaptureModeGlobal && capture->mode == cudaStreamCaptureModeGlobal;
    if (mine || global) result = break_capture(*capture, cudaErrorStreamCaptureUnsupported);
  }
  return result;
}

void leaks_of_streams(std::vector<std::string>& leaks) {
  for (const auto& stream : streams().live())
    if (stream->rank >= 0 && stream->capture != nullptr)
      leaks.push_back("an unfinished capture on " + name_of(*stream) + " of rank " +
                      std::to_string(stream->rank));
  for (const auto& stream : streams().live())
    if (stream->rank >= 0 && !stream->of_thread)
      leaks.push_back(name_of(*stream) + " of rank " + std::to_string(stream->rank));
  for (const auto& event : events().live())
    if (event->rank >= 0)
      leaks.push_back("event " + std::to_string(event->id) + " of rank " +
                      std::to_string(event->rank));
}

}  // namespace sim
