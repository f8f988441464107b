// Elements of any memory space with a mirror on the host, for tests that fill and read them.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <dpgather/core/memory.hpp>
#include <dpgather/core/stream.hpp>

namespace test {

/// `copy(from, to, bytes, stream)` between host and device, in the order of `stream` and without a
/// wait. mirrored_cuda.hpp has it for CUDA.
template <class Stream>
struct MirrorCopy;

/// The mirror is in the space's `visible_type`. Where that is the space itself there is one buffer,
/// and upload and download are nothing. Uploads do not wait, so that work which does not wait for
/// them either is found out: leave the mirror alone until the stream was synchronised.
template <class T, dpgather::MemorySpace Memory>
class Mirrored {
 public:
  using Stream = typename Memory::stream_type;
  using Visible = typename Memory::visible_type;
  static constexpr bool one_buffer = std::same_as<Visible, Memory>;

  explicit Mirrored(std::int64_t count) : mirror_(count), buffer_(one_buffer ? 0 : count) {}

  /// Where ranks work on it.
  [[nodiscard]] T* data() const { return one_buffer ? mirror_.data() : buffer_.data(); }
  [[nodiscard]] std::int64_t size() const { return mirror_.size(); }
  [[nodiscard]] std::span<T> mirror() const {
    return {mirror_.data(), static_cast<std::size_t>(mirror_.size())};
  }
  void upload(Stream stream) const {
    if constexpr (!one_buffer)
      if (size() > 0)
        MirrorCopy<Stream>::copy(mirror_.data(), buffer_.data(), mirror().size_bytes(), stream);
  }
  /// What the mirror of `other`, of the same size, has.
  void upload_of(const Mirrored& other, Stream stream) const {
    if constexpr (one_buffer)
      std::copy_n(other.data(), size(), data());
    else if (size() > 0)
      MirrorCopy<Stream>::copy(other.mirror_.data(), buffer_.data(), mirror().size_bytes(), stream);
  }
  /// The mirror has it once `stream` was synchronised.
  void download(Stream stream) const {
    if constexpr (!one_buffer)
      if (size() > 0)
        MirrorCopy<Stream>::copy(buffer_.data(), mirror_.data(), mirror().size_bytes(), stream);
  }

 private:
  dpgather::Buffer<T, Visible> mirror_;
  dpgather::Buffer<T, Memory> buffer_;  // freed first: that waits for copies under way
};

}  // namespace test
