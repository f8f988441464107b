// Copies and fills.
#include <algorithm>
#include <cstring>

#include "sim/api.hpp"
#include "sim/memory.hpp"

using namespace sim;

namespace {

enum class Space { device, pinned, pageable, bad };

Space space_of(const void* pointer, std::size_t bytes) {
  Memory& memory = Memory::get();
  pointer = memory.original(pointer);
  if (pointer == nullptr) return Space::bad;
  const Allocation* const a = memory.find(pointer);
  if (a == nullptr) return memory.in_arena(pointer) ? Space::bad : Space::pageable;
  const auto offset =
      static_cast<std::size_t>(static_cast<const unsigned char*>(pointer) - a->base);
  if (offset + bytes > a->bytes) return Space::bad;
  return a->device >= 0 ? Space::device : Space::pinned;
}

/// `height` rows of `width` bytes.
struct Copy {
  unsigned char* to;
  std::size_t to_pitch;
  const unsigned char* from;
  std::size_t from_pitch;
  std::size_t width, height;
  std::shared_ptr<const std::vector<unsigned char>> staged = {};  // owns `from`

  [[nodiscard]] std::size_t to_bytes() const { return to_pitch * (height - 1) + width; }
  [[nodiscard]] std::size_t from_bytes() const { return from_pitch * (height - 1) + width; }
};

/// Misuse that shows only when the copy runs: memory freed since, or not there yet.
std::string complaint(const void* pointer, std::size_t bytes) {
  Memory& memory = Memory::get();
  if (!memory.in_arena(pointer)) return "";
  return memory.complaint(pointer, bytes);
}

/// A copy in a few parts, so that what runs beside it sees it half done.
Work work_of(const Copy& copy, const char* name) {
  Work work{.name = name, .kind = Count::copy};
  work.on_launch = [copy](Work& w) {
    w.slice = [copy, next = std::size_t{0}]() mutable {
      for (const std::string& bad :
           {complaint(copy.to, copy.to_bytes()), complaint(copy.from, copy.from_bytes())})
        if (!bad.empty()) throw std::runtime_error(bad);
      const std::size_t all = copy.width * copy.height;
      const std::size_t least = all / 4 + 1;
      const std::size_t end = std::min(all, next + least + choose(all - next + 1));
      while (next < end) {
        const std::size_t row = next / copy.width, at = next % copy.width;
        const std::size_t n = std::min(end - next, copy.width - at);
        std::memmove(copy.to + row * copy.to_pitch + at, copy.from + row * copy.from_pitch + at, n);
        next += n;
      }
      return next == all;
    };
  };
  return work;
}

bool spaces_fit(Space to, Space from, cudaMemcpyKind kind) {
  if (to == Space::bad || from == Space::bad) return false;
  const bool to_device = to == Space::device, from_device = from == Space::device;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

cudaError_t copy(Copy what, cudaMemcpyKind kind, cudaStream_t handle, const char* name,
                 bool synchronous) {
  Stream* const stream = resolve(handle);
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (what.width == 0 || what.height == 0) return cudaSuccess;
  if (what.to == nullptr || what.from == nullptr) return cudaErrorInvalidValue;
  if (what.height > 1 && (what.to_pitch < what.width || what.from_pitch < what.width))
    return cudaErrorInvalidPitchValue;
  const Space to = space_of(what.to, what.to_bytes());
  const Space from = space_of(what.from, what.from_bytes());
  if (!spaces_fit(to, from, kind)) return cudaErrorInvalidValue;
  const bool captured = stream->capture != nullptr;
  if (synchronous)
    if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  if (from == Space::pageable && !captured) {  // taken before the call returns
    auto bytes =
        std::make_shared<std::vector<unsigned char>>(what.from, what.from + what.from_bytes());
    what.from = bytes->data();
    what.staged = std::move(bytes);
  }
  if (const cudaError_t error = enqueue(handle, work_of(what, name)); error != cudaSuccess)
    return error;
  const bool on_device = to == Space::device && from == Space::device;
  const bool waits = !captured && ((synchronous && !on_device) || to == Space::pageable);
  return waits ? wait_for(stream->tail, stream->device, name_of(*stream)) : cudaSuccess;
}

Copy flat(void* to, const void* from, std::size_t bytes) {
  return {static_cast<unsigned char*>(to),
          bytes,
          static_cast<const unsigned char*>(from),
          bytes,
          bytes,
          1};
}

cudaError_t fill(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  if (const cudaError_t error = check_stream(stream); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  const Space space = space_of(pointer, bytes);
  if (space == Space::bad || space == Space::pageable) return cudaErrorInvalidValue;
  return enqueue(stream, {.name = "memset", .kind = Count::fill, .run = [=] {
                            if (const auto bad = complaint(pointer, bytes); !bad.empty())
                              throw std::runtime_error(bad);
                            std::memset(pointer, value, bytes);
                          }});
}

}  // namespace

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return api("cudaMemcpyAsync",
             [&] { return copy(flat(to, from, bytes), kind, stream, "cudaMemcpyAsync", false); });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return api("cudaMemcpy",
             [&] { return copy(flat(to, from, bytes), kind, nullptr, "cudaMemcpy", true); });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  return api("cudaMemcpy2DAsync", [&] {
    const Copy what{static_cast<unsigned char*>(to),
                    to_pitch,
                    static_cast<const unsigned char*>(from),
                    from_pitch,
                    width,
                    height};
    return copy(what, kind, stream, "cudaMemcpy2DAsync", false);
  });
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t stream) {
  return api("cudaMemcpyPeerAsync", [&] {
    const auto exists = [](int device) { return device >= 0 && device < options().devices; };
    if (!exists(to_device) || !exists(from_device)) return cudaErrorInvalidDevice;
    return copy(flat(to, from, bytes), cudaMemcpyDeviceToDevice, stream, "cudaMemcpyPeerAsync",
                false);
  });
}
cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  return api("cudaMemsetAsync", [&] { return fill(pointer, value, bytes, stream); });
}
cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  return api("cudaMemset", [&] {
    if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
    return fill(pointer, value, bytes, nullptr);  // not waited for: memory is on a device
  });
}

}  // extern "C"
