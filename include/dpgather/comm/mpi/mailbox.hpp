// The side channel of an MPI communicator: "I abort, because" and "I leave".
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dpgather/comm/mpi/api.hpp>

namespace dpgather::detail {

struct MpiNotice {
  enum class Kind : std::int32_t { aborted, left };
  Kind kind = Kind::left;
  std::int32_t rank = 0;
  std::int64_t calls = 0;  // collectives the sender took part in
  std::array<char, 1000> text{};
};
static_assert(sizeof(MpiNotice) <= 1024, "small enough to be sent without the receiver's help");

/// Owns the communicators of one MpiLink and a posted receive for notices. Every rank sends each
/// peer at most one abort and at last one "left"; MPI objects are freed only when all peers have
/// left, since MPI may give the same id to a new communicator, which a late notice would then
/// reach.
class MpiMailbox {
 public:
  MpiMailbox(mpi::OwnedComm calls, mpi::OwnedComm notices)
      : calls_(std::move(calls)),
        notices_(std::move(notices)),
        rank_(mpi::rank_of(notices_.get())),
        size_(mpi::size_of(notices_.get())) {
    const auto peers = static_cast<std::size_t>(size_ - 1);
    for (auto& box : outbox_) box.requests.reserve(peers);
    listen();
  }
  MpiMailbox(const MpiMailbox&) = delete;
  MpiMailbox& operator=(const MpiMailbox&) = delete;
  ~MpiMailbox() {
    if (!mpi::usable()) return;
    if (request_ != MPI_REQUEST_NULL) {
      MPI_Cancel(&request_);
      MPI_Wait(&request_, MPI_STATUS_IGNORE);
    }
  }

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] MPI_Comm calls() const { return calls_.get(); }
  /// Reason of the first abort that arrived; empty if none.
  [[nodiscard]] const std::string& aborted() const { return aborted_; }
  /// A rank that left before it took part in the `calls`-th collective; -1 if none.
  [[nodiscard]] int left_before(std::int64_t calls) const {
    return first_left_ >= 0 && first_left_calls_ < calls ? first_left_ : -1;
  }

  /// Why it left, if the communicator had failed for it; else empty.
  [[nodiscard]] const std::string& leaver_said() const { return leaver_said_; }

  /// Takes what has arrived. Never waits; never throws, as destructors use it.
  void poll() noexcept {
    while (request_ != MPI_REQUEST_NULL) {
      int arrived = 0;
      if (MPI_Test(&request_, &arrived, MPI_STATUS_IGNORE) != MPI_SUCCESS || arrived == 0) return;
      take();
      if (left_ < size_ - 1) listen();
    }
  }
  /// Sends to every peer. Such small messages need no answer; the wait is for slow connections.
  void send(MpiNotice::Kind kind, std::int64_t calls, std::string_view text,
            std::chrono::milliseconds patience) noexcept {
    Outgoing& box = outbox_[static_cast<std::size_t>(kind)];
    if (!box.requests.empty() || size_ == 1) return;
    box.notice = {.kind = kind, .rank = rank_, .calls = calls};
    text.copy(box.notice.text.data(), box.notice.text.size() - 1);
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      MPI_Request request = MPI_REQUEST_NULL;
      MPI_Isend(&box.notice, sizeof(MpiNotice), MPI_BYTE, peer, tag, notices_.get(), &request);
      box.requests.push_back(request);
    }
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (!sent(box) && std::chrono::steady_clock::now() < limit)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  /// This rank and all peers have left, and all of that has arrived.
  [[nodiscard]] bool finished() noexcept {
    poll();
    return sent(outbox_[0]) && sent(outbox_[1]) && left_ == size_ - 1;
  }
  /// Collectives are still under way that nobody will end: their communicator may not be freed.
  void abandon_calls() { static_cast<void>(calls_.release()); }
  /// Peers will not answer any more. What MPI still holds is left alone.
  void abandon() {
    abandon_calls();
    static_cast<void>(notices_.release());
  }

 private:
  static constexpr int tag = 7;
  struct Outgoing {
    MpiNotice notice;
    std::vector<MPI_Request> requests;
  };

  void listen() {
    if (size_ > 1)
      MPI_Irecv(&inbox_, sizeof(MpiNotice), MPI_BYTE, MPI_ANY_SOURCE, tag, notices_.get(),
                &request_);
  }
  void take() noexcept {
    inbox_.text.back() = '\0';
    if (inbox_.kind == MpiNotice::Kind::left) {
      ++left_;
      if (first_left_ < 0 || inbox_.calls < first_left_calls_) {
        first_left_ = inbox_.rank;
        first_left_calls_ = inbox_.calls;
        leaver_said_ = inbox_.text.data();
      }
    } else if (aborted_.empty()) {
      aborted_ = inbox_.text.data();
    }
  }
  static bool sent(Outgoing& box) noexcept {
    int done = 1;
    MPI_Testall(static_cast<int>(box.requests.size()), box.requests.data(), &done,
                MPI_STATUSES_IGNORE);
    return done != 0;
  }

  mpi::OwnedComm calls_, notices_;
  int rank_, size_;
  MpiNotice inbox_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::array<Outgoing, 2> outbox_;
  std::string aborted_, leaver_said_;
  int left_ = 0;
  int first_left_ = -1;
  std::int64_t first_left_calls_ = 0;
};

}  // namespace dpgather::detail
