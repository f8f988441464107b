// The frame of every simulated CUDA call.
#pragma once

#include <utility>

#include "sim/objects.hpp"

namespace sim {

/// What the runtime does with a result: keeps it for cudaGetLastError.
inline cudaError_t finish_call(cudaError_t result) {
  if (result != cudaSuccess) this_thread().last_error = result;
  return result;
}

inline bool is_sticky(cudaError_t error) {
  return error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure ||
         error == cudaErrorLaunchTimeout || error == cudaErrorMisalignedAddress ||
         error == cudaErrorIllegalInstruction || error == cudaErrorAssert;
}

inline cudaError_t injected(const Fault& fault) {
  const auto error = static_cast<cudaError_t>(fault.cuda);
  if (is_sticky(error) && !ended() && !in_device_work()) set_device_error(current_device(), error);
  return finish_call(error);
}

inline cudaError_t check_device() {
  return options().devices == 0 ? cudaErrorNoDevice : device_error(current_device());
}

/// A call that does something: `f` gives its result.
template <class F>
cudaError_t api(const char* name, F&& f) {
  const Turn turn;
  if (const Fault* const fault = call(name)) return injected(*fault);
  if (const cudaError_t error = check_device(); error != cudaSuccess) return finish_call(error);
  return finish_call(std::forward<F>(f)());
}

/// A call that lets go of something: works on a failed device and after the world's end, too.
template <class F>
cudaError_t release_api(const char* name, F&& f) {
  const Turn turn;
  if (const Fault* const fault = call(name); fault != nullptr && !ended()) return injected(*fault);
  if (in_device_work()) return cudaErrorNotPermitted;
  return finish_call(std::forward<F>(f)());
}

/// A call that asks whether something is done.
template <class F>
cudaError_t poll_api(const char* name, F&& f) {
  const Turn turn;
  if (const Fault* const fault = poll_call(name)) return injected(*fault);
  if (const cudaError_t error = check_device(); error != cudaSuccess) return finish_call(error);
  return finish_call(std::forward<F>(f)());
}

/// Waits on the host for `item`; then it is time to look at guard zones and at sticky errors.
inline cudaError_t wait_for(const ItemPtr& item, int device, const std::string& what) {
  count(Count::sync);
  if (item != nullptr && !block_until([&] { return item->done; }, [&] { return what; }))
    return cudaErrorLaunchTimeout;
  check_guards();
  return device_error(device);
}

}  // namespace sim
