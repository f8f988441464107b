// How the streams of a captured call wait for one another: by flags, in every replay anew.
#pragma once

#include <cstdint>

#include <dpgather/comm/thread/device/flag_pool.hpp>

namespace dpgather::detail {

/// The flags of one captured call, in the order of its stream. Their values are baked, so every
/// replay leaves each flag as it found it: clear. docs/thread_device.md shows why no replay can meet
/// the flags of another.
class Handshake {
 public:
  Handshake(const FlagPool& pool, int lane, int rank, int size, CudaStream stream)
      : pool_(pool), lane_(lane), rank_(rank), size_(size), stream_(stream) {}

  /// This rank's buffers are ready; waits until all are.
  void ready() { meet(0); }
  /// This rank has summed its part, and has read what it reads of its peers' send buffers; waits
  /// until all have.
  void reduced() {
    for_peers([&](int r) { batch_.write(pool_.flag(lane_, 0, r, rank_), Flag::clear); });
    meet(1);
  }
  /// This rank has read all; waits until its own buffers have been read.
  void done(bool two_passes) {
    const int which = two_passes ? 1 : 0;
    for_peers([&](int r) { batch_.write(pool_.flag(lane_, which, r, rank_), Flag::clear); });
    for_peers([&](int r) { batch_.wait(pool_.flag(lane_, which, rank_, r), Flag::clear); });
    batch_.submit(stream_);
  }

 private:
  void meet(int which) {
    for_peers([&](int r) { batch_.write(pool_.flag(lane_, which, rank_, r), Flag::set); });
    for_peers([&](int r) { batch_.wait(pool_.flag(lane_, which, r, rank_), Flag::set); });
    batch_.submit(stream_);
  }
  template <class F>
  void for_peers(const F& f) const {
    for (int i = 1; i < size_; ++i) f((rank_ + i) % size_);
  }
  const FlagPool& pool_;
  int lane_, rank_, size_;
  CudaStream stream_;
  StreamMemoryBatch batch_;
};

}  // namespace dpgather::detail
