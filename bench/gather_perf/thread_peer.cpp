#include <optional>
#include <vector>

#include <dpgather/comm/thread.hpp>

#include "of_communicator.hpp"
#include "peers.hpp"

namespace gather_perf {

namespace {

class ThreadPeer final : public Peer {
 public:
  explicit ThreadPeer(int ranks)
      : hub_(std::make_shared<dpgather::ThreadHub>(ranks)),
        comms_(static_cast<std::size_t>(ranks)) {}

  SubjectPtr make(const Case& of, Mode mode, int rank) override {
    auto& comm = comms_[static_cast<std::size_t>(rank)];
    if (!comm) comm.emplace(hub_, rank);
    return make_subject(*comm, of, mode);
  }

 private:
  std::shared_ptr<dpgather::ThreadHub> hub_;
  std::vector<std::optional<dpgather::ThreadComm<>>> comms_;
};

/// What a rank of ThreadComm reads and writes, from buffers of its own: the pieces of an all-gather,
/// or as many bytes as a reduction reads.
template <class T>
class CopySubject final : public Subject {
 public:
  CopySubject(const Case& of, int rank)
      : counts_(of.counts()), offsets_(of.offsets()), own_(static_cast<std::size_t>(rank)) {
    const bool whole = !adds(of.what);
    // A reduction reads its own part of every rank.
    if (!whole) {
      const std::int64_t n = of.what == What::all_reduce ? of.elements() : counts_[own_];
      for (std::size_t r = 0; r < counts_.size(); ++r) {
        counts_[r] = n;
        offsets_[r] = static_cast<std::int64_t>(r) * n;
      }
    }
    skip_own_ = of.in_place;
    total_ = 0;
    for (const std::int64_t n : counts_) total_ += n;
    from_ = dpgather::Buffer<T>(total_);
    to_ = dpgather::Buffer<T>(total_);
    fill(from_.data(), total_, rank, 0);
    rank_ = rank;
  }
  void run() override {
    for (std::size_t i = 1; i <= counts_.size(); ++i) {
      const std::size_t r = (own_ + i) % counts_.size();
      if (counts_[r] == 0 || (skip_own_ && r == own_)) continue;
      std::memcpy(static_cast<void*>(to_.data() + offsets_[r]), from_.data() + offsets_[r],
                  static_cast<std::size_t>(counts_[r]) * sizeof(T));
    }
  }
  [[nodiscard]] std::int64_t wrong() const override {
    std::int64_t wrong = 0;
    for (std::size_t r = 0; r < counts_.size(); ++r)
      if (!(skip_own_ && r == own_))
        wrong += count_wrong(to_.data() + offsets_[r], counts_[r],
                             [&](std::int64_t i) { return pattern(rank_, offsets_[r] + i); });
    return wrong;
  }

 private:
  std::vector<std::int64_t> counts_, offsets_;
  std::size_t own_;
  int rank_ = 0;
  bool skip_own_ = false;
  std::int64_t total_ = 0;
  dpgather::Buffer<T> from_, to_;
};

class CopyPeer final : public Peer {
 public:
  SubjectPtr make(const Case& of, Mode, int rank) override {
    if (of.what == What::barrier) return nullptr;
    return with_type(of.dtype, [&](auto zero) -> SubjectPtr {
      return std::make_unique<CopySubject<decltype(zero)>>(of, rank);
    });
  }
};

}  // namespace

PeerPtr thread_peer(int ranks) {
  return std::make_unique<ThreadPeer>(ranks);
}
PeerPtr copy_peer() {
  return std::make_unique<CopyPeer>();
}

}  // namespace gather_perf
