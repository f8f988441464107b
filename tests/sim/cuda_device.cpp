// Devices, versions, errors.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

#include "sim/api.hpp"

using namespace sim;

namespace {

bool exists(int device) {
  return device >= 0 && device < options().devices;
}

std::set<std::pair<int, int>>& peers() {
  static auto* const enabled = new std::set<std::pair<int, int>>;
  return *enabled;
}

[[maybe_unused]] const bool cleared_each_run = (on_reset([] { peers().clear(); }), true);

}  // namespace

namespace sim {

bool reach_each_other(int a, int b) {
  const auto& apart = options().apart;
  return options().peers && std::none_of(apart.begin(), apart.end(), [&](const auto& pair) {
           return pair == std::pair(a, b) || pair == std::pair(b, a);
         });
}

cudaError_t wait_for_device(int device) {
  std::vector<ItemPtr> ends;
  for (const auto* list : {&streams().live(), &streams().dead()})
    for (const auto& stream : *list)
      if (stream->device == device && stream->tail != nullptr) ends.push_back(stream->tail);
  const bool came = block_until(
      [&ends] {
        while (!ends.empty() && ends.back()->done) ends.pop_back();
        return ends.empty();
      },
      [device] { return "all of device " + std::to_string(device); });
  if (!came) return cudaErrorLaunchTimeout;
  check_guards();
  return device_error(device);
}

}  // namespace sim

extern "C" {

cudaError_t cudaGetDeviceCount(int* number) {
  const Turn turn;
  if (const Fault* const fault = call("cudaGetDeviceCount")) return injected(*fault);
  *number = options().devices;
  return finish_call(*number == 0 ? cudaErrorNoDevice : cudaSuccess);
}
cudaError_t cudaGetDevice(int* device) {
  return api("cudaGetDevice", [&] {
    *device = current_device();
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int device) {
  const Turn turn;
  if (const Fault* const fault = call("cudaSetDevice")) return injected(*fault);
  if (options().devices == 0) return finish_call(cudaErrorNoDevice);
  if (!exists(device)) return finish_call(cudaErrorInvalidDevice);
  this_thread().device = device;
  return finish_call(device_error(device));
}
cudaError_t cudaDeviceSynchronize() {
  return api("cudaDeviceSynchronize", [&] {
    for (const auto& capture : captures())
      for (const Stream* const s : capture->streams)
        if (s->device == current_device())
          return break_capture(*capture, cudaErrorStreamCaptureUnsupported);
    count(Count::sync);
    return wait_for_device(current_device());
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return api("cudaDeviceCanAccessPeer", [&] {
    if (!exists(device) || !exists(peer)) return cudaErrorInvalidDevice;
    *can = device != peer && reach_each_other(device, peer) ? 1 : 0;
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  return api("cudaDeviceEnablePeerAccess", [&] {
    if (flags != 0) return cudaErrorInvalidValue;
    if (!exists(peer) || peer == current_device()) return cudaErrorInvalidDevice;
    if (!reach_each_other(current_device(), peer)) return cudaErrorPeerAccessUnsupported;
    return peers().insert({current_device(), peer}).second ? cudaSuccess
                                                           : cudaErrorPeerAccessAlreadyEnabled;
  });
}
cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  return api("cudaDeviceDisablePeerAccess", [&] {
    if (!exists(peer)) return cudaErrorInvalidDevice;
    return peers().erase({current_device(), peer}) != 0 ? cudaSuccess
                                                        : cudaErrorPeerAccessNotEnabled;
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int room, int device) {
  return api("cudaDeviceGetPCIBusId", [&] {
    if (!exists(device)) return cudaErrorInvalidDevice;
    if (id == nullptr || room < 13) return cudaErrorInvalidValue;
    std::snprintf(id, static_cast<std::size_t>(room), "0000:%02X:00.0", 0x10 + device);
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* id) {
  return api("cudaDeviceGetByPCIBusId", [&] {
    unsigned bus = 0;
    if (device == nullptr || id == nullptr || std::sscanf(id, "0000:%x:00.0", &bus) != 1)
      return cudaErrorInvalidValue;
    if (bus < 0x10 || !exists(static_cast<int>(bus) - 0x10)) return cudaErrorInvalidDevice;
    *device = static_cast<int>(bus) - 0x10;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return api("cudaDeviceGetAttribute", [&] {
    if (!exists(device)) return cudaErrorInvalidDevice;
    switch (attribute) {
      case cudaDevAttrComputeCapabilityMajor:
        *value = 9;
        return cudaSuccess;
      case cudaDevAttrComputeCapabilityMinor:
        *value = 0;
        return cudaSuccess;
      case cudaDevAttrMultiProcessorCount:
        *value = 4;
        return cudaSuccess;
      case cudaDevAttrMaxThreadsPerBlock:
        *value = 1024;
        return cudaSuccess;
      case cudaDevAttrWarpSize:
        *value = 32;
        return cudaSuccess;
      case cudaDevAttrUnifiedAddressing:
      case cudaDevAttrMemoryPoolsSupported:
      case cudaDevAttrConcurrentKernels:
        *value = 1;
        return cudaSuccess;
      default:
        return cudaErrorInvalidValue;
    }
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return api("cudaGetDeviceProperties", [&] {
    if (!exists(device)) return cudaErrorInvalidDevice;
    *properties = {};
    std::strcpy(properties->name, "simulated device");
    properties->major = 9;
    properties->multiProcessorCount = 4;
    properties->warpSize = 32;
    properties->totalGlobalMem = options().device_bytes;
    return cudaSuccess;
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

// What only looks at the thread's own state is no scheduling point and is not counted.
cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  this_thread().last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() {
  const Turn turn;
  const cudaError_t sticky = device_error(current_device());
  return sticky != cudaSuccess ? sticky : this_thread().last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define SIM_ERROR(name) \
  case name:            \
    return #name
    SIM_ERROR(cudaSuccess);
    SIM_ERROR(cudaErrorInvalidValue);
    SIM_ERROR(cudaErrorMemoryAllocation);
    SIM_ERROR(cudaErrorInvalidPitchValue);
    SIM_ERROR(cudaErrorNoDevice);
    SIM_ERROR(cudaErrorInvalidDevice);
    SIM_ERROR(cudaErrorDeviceUninitialized);
    SIM_ERROR(cudaErrorInvalidResourceHandle);
    SIM_ERROR(cudaErrorMapBufferObjectFailed);
    SIM_ERROR(cudaErrorIllegalState);
    SIM_ERROR(cudaErrorNotReady);
    SIM_ERROR(cudaErrorIllegalAddress);
    SIM_ERROR(cudaErrorLaunchFailure);
    SIM_ERROR(cudaErrorLaunchTimeout);
    SIM_ERROR(cudaErrorNotPermitted);
    SIM_ERROR(cudaErrorNotSupported);
    SIM_ERROR(cudaErrorPeerAccessAlreadyEnabled);
    SIM_ERROR(cudaErrorPeerAccessUnsupported);
    SIM_ERROR(cudaErrorStreamCaptureUnsupported);
    SIM_ERROR(cudaErrorStreamCaptureInvalidated);
    SIM_ERROR(cudaErrorStreamCaptureMerge);
    SIM_ERROR(cudaErrorStreamCaptureUnmatched);
    SIM_ERROR(cudaErrorStreamCaptureUnjoined);
    SIM_ERROR(cudaErrorStreamCaptureIsolation);
    SIM_ERROR(cudaErrorStreamCaptureImplicit);
    SIM_ERROR(cudaErrorStreamCaptureWrongThread);
    SIM_ERROR(cudaErrorCapturedEvent);
    SIM_ERROR(cudaErrorUnknown);
#undef SIM_ERROR
    default:
      return "unrecognized error code";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "(simulated) see the name of the error";
}

}  // extern "C"
