// Guarded buffers in the memory of a world's communicator, and how values come and go.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "conformance/support.hpp"
#include "support/mirrored.hpp"

namespace conformance {

/// `count` elements between guards, all with a value that no test sends. Elements are read and
/// written in a mirror on the host: `put` after writing, `fetch` before reading.
template <class T, class World>
class Guarded {
 public:
  using Memory = typename World::Comm::memory_type;

  explicit Guarded(std::int64_t count) : Guarded(count, next_guard()) {}
  /// One that `put_into` can take to or from this.
  [[nodiscard]] Guarded like() const { return Guarded(size(), guard_); }
  [[nodiscard]] static T untouched() { return make<T>(99); }
  /// What calls are given.
  [[nodiscard]] T* data() const { return all_.data() + guard_; }
  [[nodiscard]] std::int64_t size() const { return all_.size() - 2 * guard_; }
  [[nodiscard]] T& operator[](std::int64_t i) const {
    return all_.mirror()[static_cast<std::size_t>(i + guard_)];
  }
  [[nodiscard]] std::span<const T> span() const {
    return all_.mirror().subspan(static_cast<std::size_t>(guard_),
                                 static_cast<std::size_t>(size()));
  }
  [[nodiscard]] std::span<const T> span(std::int64_t first, std::int64_t count) const {
    return span().subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  }
  [[nodiscard]] bool guards_hold() const {
    const auto is_untouched = [](T x) { return x == untouched(); };
    const auto all = all_.mirror();
    return std::all_of(all.begin(), all.begin() + guard_, is_untouched) &&
           std::all_of(all.end() - guard_, all.end(), is_untouched);
  }
  [[nodiscard]] const test::Mirrored<T, Memory>& all() const { return all_; }

 private:
  Guarded(std::int64_t count, std::int64_t guard) : guard_(guard), all_(count + 2 * guard) {
    std::fill(all_.mirror().begin(), all_.mirror().end(), untouched());
  }
  /// In turn, so that buffers at multiples of 16 bytes meet others in one call.
  static std::int64_t next_guard() {
    thread_local bool aligned = false;
    aligned = !aligned;
    return aligned ? 16 : 5;
  }
  std::int64_t guard_;
  test::Mirrored<T, Memory> all_;
};

/// The world's work sees what was written to the mirrors, in the order of the rank's stream.
template <class Stream, class... Buffers>
void put(const Place<Stream>& rank, const Buffers&... buffers) {
  (buffers.all().upload(rank.stream), ...);
}

/// The same of what another's mirror has, guards included.
template <class Stream, class Buffer>
void put_into(const Place<Stream>& rank, const Buffer& to, const Buffer& from) {
  to.all().upload_of(from.all(), rank.stream);
}

/// Waits for the rank's stream; a communicator may have a way of its own, which sees to deadlines.
template <class Comm, class Stream>
void finish(Comm& comm, const Place<Stream>& rank) {
  if constexpr (requires { comm.synchronize(rank.stream); })
    comm.synchronize(rank.stream);
  else
    rank.stream.synchronize();
}

/// The mirrors show what the work before it left.
template <class Comm, class Stream, class... Buffers>
void fetch(Comm& comm, const Place<Stream>& rank, const Buffers&... buffers) {
  (buffers.all().download(rank.stream), ...);
  finish(comm, rank);
}
/// Asking the stream alone: a communicator that has failed would say so.
template <class Stream, class... Buffers>
void fetch_by_stream(const Place<Stream>& rank, const Buffers&... buffers) {
  (buffers.all().download(rank.stream), ...);
  rank.stream.synchronize();
}

/// How many ranks answer: the sum of a 1 from each. Theirs is right even if they fail just after it.
template <class World, class Stream>
float count_ranks(typename World::Comm& comm, const Place<Stream>& rank) {
  Guarded<float, World> one(1), total(1);
  one[0] = 1;
  put(rank, one);
  comm.all_reduce(one.data(), total.data(), 1, rank.stream);
  fetch_by_stream(rank, total);
  return total[0];
}

}  // namespace conformance
