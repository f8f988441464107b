// Streams, events, host functions.
#include <algorithm>

#include "sim/api.hpp"

using namespace sim;

namespace {

/// What cudaStreamQuery and cudaStreamSynchronize refuse.
cudaError_t check_wait(const Stream* stream) {
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (stream->capture != nullptr)
    return break_capture(*stream->capture, cudaErrorStreamCaptureUnsupported);
  return check_unsafe();
}

/// What cudaEventQuery and cudaEventSynchronize refuse.
cudaError_t check_wait(const Event* event) {
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  if (event->capture != nullptr) return break_capture(*event->capture, cudaErrorCapturedEvent);
  return check_unsafe();
}

/// What a sync of the stream waits for: of the default stream also the others it waits for.
ItemPtr end_of(Stream& stream) {
  return stream.legacy ? append_marker(stream) : stream.tail;
}

cudaError_t create_stream(cudaStream_t* out, unsigned flags, int priority) {
  if (out == nullptr || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
  Stream& stream = *streams().add();
  stream.device = current_device();
  stream.blocking = (flags & cudaStreamNonBlocking) == 0;
  stream.priority = priority;
  *out = reinterpret_cast<cudaStream_t>(&stream);
  progress();
  return cudaSuccess;
}

cudaError_t create_event(cudaEvent_t* out, unsigned flags) {
  if (out == nullptr) return cudaErrorInvalidValue;
  Event& event = *events().add();
  event.device = current_device();
  event.timing = (flags & cudaEventDisableTiming) == 0;
  *out = reinterpret_cast<cudaEvent_t>(&event);
  progress();
  return cudaSuccess;
}

cudaError_t record(cudaEvent_t handle, cudaStream_t stream_handle) {
  Event* const event = events().find(handle);
  Stream* const stream = resolve(stream_handle);
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (event->device != stream->device) return cudaErrorInvalidResourceHandle;
  event->capture = stream->capture;
  if (stream->capture != nullptr) {
    event->nodes = stream->frontier;
    event->item = nullptr;
  } else {
    // An item of its own: even on an idle stream an event is not done at once.
    event->item = make_item(
        {.name = "event " + std::to_string(event->id), .kind = Count::event, .run = [] {}},
        stream->device, "");
    append(*stream, event->item);
  }
  progress();
  return cudaSuccess;
}

/// The event is part of a capture: `stream` joins it.
cudaError_t join_capture(Stream& stream, const Event& event) {
  Capture& capture = *event.capture;
  if (capture.graph == nullptr) return cudaErrorCapturedEvent;  // it has ended
  if (stream.capture != nullptr && stream.capture != event.capture) {
    stream.capture->broken = true;
    return break_capture(capture, cudaErrorStreamCaptureMerge);
  }
  if (stream.legacy) return break_capture(capture, cudaErrorStreamCaptureImplicit);
  if (capture.broken) return cudaErrorStreamCaptureInvalidated;
  if (stream.capture == nullptr) {
    stream.capture = event.capture;
    stream.frontier.clear();
    capture.streams.push_back(&stream);
  }
  for (const std::size_t node : event.nodes)
    if (std::find(stream.frontier.begin(), stream.frontier.end(), node) == stream.frontier.end())
      stream.frontier.push_back(node);
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* out) {
  return api("cudaStreamCreate", [&] { return create_stream(out, 0, 0); });
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned flags) {
  return api("cudaStreamCreateWithFlags", [&] { return create_stream(out, flags, 0); });
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* out, unsigned flags, int priority) {
  return api("cudaStreamCreateWithPriority", [&] { return create_stream(out, flags, priority); });
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return release_api("cudaStreamDestroy", [&] {
    Stream* const stream = streams().find(handle);
    if (stream == nullptr || stream->legacy) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) {
      stream->capture->broken = true;
      std::erase(stream->capture->streams, stream);
      if (stream->capture->origin == stream) std::erase(captures(), stream->capture);
    }
    streams().remove(stream);
    progress();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return api("cudaStreamSynchronize", [&] {
    Stream* const stream = resolve(handle);
    if (const cudaError_t error = check_wait(stream); error != cudaSuccess) return error;
    return wait_for(end_of(*stream), stream->device, name_of(*stream));
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return poll_api("cudaStreamQuery", [&] {
    Stream* const stream = resolve(handle);
    if (const cudaError_t error = check_wait(stream); error != cudaSuccess) return error;
    const ItemPtr end = end_of(*stream);
    return end == nullptr || end->done ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  return api("cudaStreamGetPriority", [&] {
    const Stream* const stream = resolve(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *priority = stream->priority;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return api("cudaStreamGetFlags", [&] {
    const Stream* const stream = resolve(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *flags = stream->blocking ? cudaStreamDefault : cudaStreamNonBlocking;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamGetDevice(cudaStream_t handle, int* device) {
  return api("cudaStreamGetDevice", [&] {
    const Stream* const stream = resolve(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *device = stream->device;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned flags) {
  return api("cudaStreamWaitEvent", [&] {
    const Event* const event = events().find(event_handle);
    Stream* const stream = resolve(handle);
    if (event == nullptr || stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (flags == cudaEventWaitExternal) return cudaErrorNotSupported;  // not modelled
    if (flags != 0) return cudaErrorInvalidValue;
    if (event->capture != nullptr) return join_capture(*stream, *event);
    if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
    if (event->item == nullptr) return cudaSuccess;  // never recorded
    if (stream->capture != nullptr)
      return break_capture(*stream->capture, cudaErrorStreamCaptureIsolation);
    append_marker(*stream, {event->item});
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* out) {
  return api("cudaEventCreate", [&] { return create_event(out, 0); });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned flags) {
  return api("cudaEventCreateWithFlags", [&] { return create_event(out, flags); });
}
cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return release_api("cudaEventDestroy", [&] {
    Event* const event = events().find(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    event->item = nullptr;
    event->capture = nullptr;
    events().remove(event);
    progress();
    return cudaSuccess;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api("cudaEventRecord", [&] { return record(event, stream); });
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  return api("cudaEventRecordWithFlags", [&] {
    if (flags == cudaEventRecordExternal) return cudaErrorNotSupported;  // not modelled
    return flags != 0 ? cudaErrorInvalidValue : record(event, stream);
  });
}
cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return poll_api("cudaEventQuery", [&] {
    const Event* const event = events().find(handle);
    if (const cudaError_t error = check_wait(event); error != cudaSuccess) return error;
    return event->item == nullptr || event->item->done ? cudaSuccess : cudaErrorNotReady;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return api("cudaEventSynchronize", [&] {
    const Event* const event = events().find(handle);
    if (const cudaError_t error = check_wait(event); error != cudaSuccess) return error;
    return wait_for(event->item, event->device, "event " + std::to_string(event->id));
  });
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  return api("cudaEventElapsedTime", [&] {
    const Event* const a = events().find(start);
    const Event* const b = events().find(end);
    if (a == nullptr || b == nullptr || !a->timing || !b->timing || a->item == nullptr ||
        b->item == nullptr)
      return cudaErrorInvalidResourceHandle;
    if (!a->item->done || !b->item->done) return cudaErrorNotReady;
    *ms = 1e-3F;  // the simulation times nothing
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return api("cudaLaunchHostFunc", [&] {
    if (function == nullptr) return cudaErrorInvalidValue;
    return enqueue(stream, {.name = "host function",
                            .kind = Count::host_function,
                            .run = [function, data] { function(data); }});
  });
}

}  // extern "C"
