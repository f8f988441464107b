// Stream capture and graphs.
#include <algorithm>

#include "sim/api.hpp"

using namespace sim;

namespace {

/// Does everything that the capture's other streams hold lead to the origin stream?
bool all_joined(const Capture& capture) {
  const auto& nodes = capture.graph->nodes;
  std::vector<bool> reached(nodes.size(), false);
  for (const std::size_t end : capture.origin->frontier) reached[end] = true;
  for (std::size_t i = nodes.size(); i-- > 0;)  // nodes only follow earlier ones
    if (reached[i])
      for (const std::size_t b : nodes[i].before) reached[b] = true;
  return std::all_of(capture.streams.begin(), capture.streams.end(), [&](const Stream* s) {
    return std::all_of(s->frontier.begin(), s->frontier.end(),
                       [&](std::size_t node) { return reached[node]; });
  });
}

void close(const std::shared_ptr<Capture>& capture) {
  for (Stream* const stream : capture->streams) {
    stream->capture = nullptr;
    stream->frontier.clear();
  }
  std::erase(captures(), capture);
  capture->graph = nullptr;
  capture->streams.clear();
}

cudaError_t end_capture(cudaStream_t handle, cudaGraph_t* out) {
  Stream* const stream = resolve(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (out == nullptr) return cudaErrorInvalidValue;
  *out = nullptr;
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr) return cudaErrorIllegalState;
  if (capture->origin != stream) return break_capture(*capture, cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != &this_thread())
    return break_capture(*capture, cudaErrorStreamCaptureWrongThread);
  cudaError_t result = cudaSuccess;
  if (capture->broken)
    result = cudaErrorStreamCaptureInvalidated;
  else if (!all_joined(*capture))
    result = cudaErrorStreamCaptureUnjoined;
  if (result == cudaSuccess) {
    Graph& graph = *graphs().add();
    graph.nodes = std::move(capture->graph->nodes);
    *out = reinterpret_cast<cudaGraph_t>(&graph);
  }
  close(capture);
  progress();
  return result;
}

cudaError_t begin_capture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  Stream* const stream = resolve(handle);
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (stream->legacy) return cudaErrorStreamCaptureUnsupported;
  if (stream->capture != nullptr) return cudaErrorIllegalState;
  static unsigned long long last_id = 0;
  auto capture = std::make_shared<Capture>();
  capture->id = ++last_id;
  capture->mode = mode;
  capture->thread = &this_thread();
  capture->origin = stream;
  capture->streams = {stream};
  captures().push_back(capture);
  stream->capture = std::move(capture);
  stream->frontier.clear();
  progress();
  return cudaSuccess;
}

cudaError_t capture_status(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  const Stream* const stream = resolve(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (status == nullptr) return cudaErrorInvalidValue;
  *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
            : stream->capture->broken  ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  if (stream->legacy)
    for (const auto& capture : captures())
      for (const Stream* s : capture->streams)
        if (s->blocking && s->device == stream->device) return cudaErrorStreamCaptureImplicit;
  return cudaSuccess;
}

cudaError_t instantiate(cudaGraphExec_t* out, cudaGraph_t handle) {
  const Graph* const graph = graphs().find(handle);
  if (graph == nullptr || out == nullptr) return cudaErrorInvalidValue;
  GraphExec& exec = *graph_execs().add();
  exec.device = current_device();
  exec.nodes = graph->nodes;
  *out = reinterpret_cast<cudaGraphExec_t>(&exec);
  progress();
  return cudaSuccess;
}

/// Inside a capture: the graph's nodes become nodes of the capture.
void embed(Stream& stream, const GraphExec& exec) {
  auto& nodes = stream.capture->graph->nodes;
  const std::size_t first = nodes.size();
  std::vector<bool> ends(exec.nodes.size(), true);
  for (const Node& node : exec.nodes) {
    Node copy = node;
    for (std::size_t& b : copy.before) {
      ends[b] = false;
      b += first;
    }
    if (copy.before.empty()) copy.before = stream.frontier;
    nodes.push_back(std::move(copy));
  }
  if (exec.nodes.empty()) return;
  stream.frontier.clear();
  for (std::size_t i = 0; i < ends.size(); ++i)
    if (ends[i]) stream.frontier.push_back(first + i);
}

cudaError_t launch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  GraphExec* const exec = graph_execs().find(handle);
  Stream* const stream = resolve(stream_handle);
  if (exec == nullptr) return cudaErrorInvalidValue;
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (stream->capture != nullptr) {
    embed(*stream, *exec);
    return cudaSuccess;
  }
  count(Count::launch);
  const ItemPtr entry = append_marker(*stream, {exec->last});  // one execution at a time
  std::vector<ItemPtr> items;
  for (const Node& node : exec->nodes) {
    items.push_back(make_item(node.work, node.device, name_of(*stream) + " in a graph"));
    std::vector<ItemPtr> before;
    for (const std::size_t b : node.before) before.push_back(items[b]);
    before.push_back(entry);
    submit(items.back(), before);
  }
  exec->last = append_marker(*stream, items);
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return api("cudaStreamBeginCapture", [&] { return begin_capture(stream, mode); });
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Turn turn;
  const Fault* const fault = call("cudaStreamEndCapture");
  if (in_device_work()) return cudaErrorNotPermitted;
  if (fault == nullptr || ended()) return finish_call(end_capture(stream, graph));
  // The one call that has its effect all the same: a capture is over, however badly it ended.
  cudaGraph_t remains = nullptr;
  static_cast<void>(end_capture(stream, &remains));
  if (Graph* const made = graphs().find(remains); made != nullptr) {
    made->nodes.clear();
    graphs().remove(made);
  }
  if (graph != nullptr) *graph = nullptr;
  return injected(*fault);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return api("cudaStreamIsCapturing", [&] { return capture_status(stream, status); });
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** nodes, const cudaGraphEdgeData** edges,
                                     std::size_t* number) {
  return api("cudaStreamGetCaptureInfo", [&] {
    const cudaError_t error = capture_status(handle, status);
    if (error != cudaSuccess || *status != cudaStreamCaptureStatusActive) return error;
    const Capture& capture = *resolve(handle)->capture;
    if (id != nullptr) *id = capture.id;
    // Node handles and the graph in the making are not modelled.
    if (graph != nullptr || nodes != nullptr || edges != nullptr || number != nullptr)
      return cudaErrorNotSupported;
    return cudaSuccess;
  });
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  return api("cudaThreadExchangeStreamCaptureMode", [&] {
    if (mode == nullptr) return cudaErrorInvalidValue;
    std::swap(*mode, this_thread().capture_mode);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return api("cudaGraphInstantiate", [&] { return instantiate(exec, graph); });
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long) {
  return api("cudaGraphInstantiateWithFlags", [&] { return instantiate(exec, graph); });
}
cudaError_t cudaGraphUpload(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  return api("cudaGraphUpload", [&] {
    Stream* const stream = resolve(stream_handle);
    if (graph_execs().find(handle) == nullptr) return cudaErrorInvalidValue;
    if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
    if (stream->capture != nullptr)
      return break_capture(*stream->capture, cudaErrorStreamCaptureUnsupported);
    append_marker(*stream);
    return cudaSuccess;
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return api("cudaGraphLaunch", [&] { return launch(exec, stream); });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  return release_api("cudaGraphExecDestroy", [&] {
    GraphExec* const exec = graph_execs().find(handle);
    if (exec == nullptr) return cudaErrorInvalidValue;
    exec->nodes.clear();  // items of a launch that still runs have copies
    graph_execs().remove(exec);
    progress();
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  return release_api("cudaGraphDestroy", [&] {
    Graph* const graph = graphs().find(handle);
    if (graph == nullptr) return cudaErrorInvalidValue;
    graph->nodes.clear();
    graphs().remove(graph);
    progress();
    return cudaSuccess;
  });
}
cudaError_t cudaGraphGetNodes(cudaGraph_t handle, cudaGraphNode_t* nodes, std::size_t* number) {
  return api("cudaGraphGetNodes", [&] {
    Graph* const graph = graphs().find(handle);
    if (graph == nullptr || number == nullptr) return cudaErrorInvalidValue;
    if (nodes != nullptr)
      for (std::size_t i = 0; i < *number; ++i)
        nodes[i] =
            i < graph->nodes.size() ? reinterpret_cast<cudaGraphNode_t>(&graph->nodes[i]) : nullptr;
    *number = nodes == nullptr ? graph->nodes.size() : std::min(*number, graph->nodes.size());
    return cudaSuccess;
  });
}

}  // extern "C"

namespace sim {

void leaks_of_graphs(std::vector<std::string>& leaks) {
  const auto add = [&](const char* what, const auto& list) {
    for (const auto& object : list)
      if (object->rank >= 0)
        leaks.push_back(what + std::to_string(object->id) + " of rank " +
                        std::to_string(object->rank));
  };
  add("graph ", graphs().live());
  add("executable graph ", graph_execs().live());
}

}  // namespace sim
