#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <dpgather/comm/thread.hpp>

#include "copied_blocks.hpp"
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

/// Between buffers of its own, by a thread that meets nobody.
template <class T>
class CopySubject final : public Subject {
 public:
  CopySubject(const Case& of, int rank)
      : blocks_(of, rank), rank_(rank), from_(blocks_.total()), to_(blocks_.total()) {
    fill(from_.data(), blocks_.total(), rank, 0);
  }
  void run() override {
    blocks_.for_each([&](std::int64_t at, std::int64_t count) {
      std::memcpy(static_cast<void*>(to_.data() + at), from_.data() + at,
                  static_cast<std::size_t>(count) * sizeof(T));
    });
  }
  [[nodiscard]] std::int64_t wrong() override { return blocks_.count_wrong(to_.data(), rank_); }

 private:
  CopiedBlocks blocks_;
  int rank_;
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
