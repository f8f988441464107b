// Sends an NcclUniqueId between processes that see the same folder.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/nccl/owned_file.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>

namespace dpgather {

namespace detail {

/// A number that no other run has.
using RunNonce = std::array<std::uint32_t, 4>;
[[nodiscard]] inline RunNonce make_nonce() {
  std::random_device device;
  return {device(), device(), device(), device()};
}

/// `path.<rank>`, by each rank but 0: "I am here". `path`, by rank 0: the id, for those whose nonces
/// it lists. A file left by a run that was killed has nonces that nobody waits for.
struct IdRequest {
  std::uint64_t magic = 0x5152'6469'6770'64;
  std::int32_t rank = 0, size = 0;
  RunNonce nonce{};
};
struct IdAnswer {
  std::uint64_t magic = 0x4152'6469'6770'64;
  NcclUniqueId id;
};

template <class T>
[[nodiscard]] std::vector<std::byte> to_bytes(const T& value, std::size_t more = 0) {
  std::vector<std::byte> bytes(sizeof(T) + more);
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

class IdByFile {
 public:
  IdByFile(std::string path, int rank, int size, std::chrono::milliseconds deadline)
      : path_(std::move(path)), rank_(rank), size_(size), deadline_(deadline) {
    require(size >= 1 && rank >= 0 && rank < size, at_, "rank ", rank, " of size ", size,
            " is impossible");
    require(!path_.empty(), at_, "the path is empty");
    require(deadline.count() > 0, at_, "deadline is ", deadline.count(), " ms, must be positive");
  }

  /// Rank 0: returns when all ranks have read the id.
  [[nodiscard]] NcclUniqueId give() {
    const NcclUniqueId id = NcclUniqueId::create();
    OwnedFile answer(path_, at_);
    std::vector<RunNonce> told(static_cast<std::size_t>(size_));
    std::vector<bool> answered(static_cast<std::size_t>(size_));
    until_deadline([&, this] {
      std::string missing;
      bool news = false;
      for (int r = 1; r < size_; ++r) {
        const auto i = static_cast<std::size_t>(r);
        const auto request = read<IdRequest>(request_path(r));
        const bool valid = request && request->rank == r && request->size == size_;
        if (!valid && answered[i]) continue;  // it has read the answer and is gone
        if (!valid || !answered[i] || request->nonce != told[i]) {
          news |= valid;
          if (valid) told[i] = request->nonce;
          answered[i] = valid;
        }
        missing += concat(missing.empty() ? "" : ", ", r);
      }
      if (news) {
        auto bytes = to_bytes(IdAnswer{.id = id}, told.size() * sizeof(RunNonce));
        std::memcpy(bytes.data() + sizeof(IdAnswer), told.data(), told.size() * sizeof(RunNonce));
        answer.write(bytes);
      }
      return missing.empty() ? missing : concat("ranks ", missing, " did not come for the id in ");
    });
    return id;
  }

  [[nodiscard]] NcclUniqueId take() {
    const IdRequest request{.rank = rank_, .size = size_, .nonce = make_nonce()};
    OwnedFile asked(request_path(rank_), at_);
    asked.write(to_bytes(request));
    NcclUniqueId id;
    until_deadline([&, this] {
      if (const auto answer = answer_to(request)) {
        id = *answer;
        return std::string();
      }
      const bool stale = ::access(path_.c_str(), F_OK) == 0;
      return concat("rank 0 did not write an id for this run",
                    stale ? " (what is there is of another) in " : " in ");
    });
    // That the request is gone tells rank 0. Until it has seen that, another request of this rank
    // would be taken for one that repeats this.
    asked.remove();
    until_deadline([&, this] {
      return answer_to(request) ? std::string("not all ranks have read the id in ") : std::string();
    });
    return id;
  }

 private:
  [[nodiscard]] std::string request_path(int rank) const { return concat(path_, ".", rank); }
  [[nodiscard]] std::optional<NcclUniqueId> answer_to(const IdRequest& request) const {
    const std::size_t nonces = static_cast<std::size_t>(size_) * sizeof(RunNonce);
    const auto bytes = read_own_file(path_, sizeof(IdAnswer) + nonces, at_);
    if (!bytes) return std::nullopt;
    IdAnswer answer;
    RunNonce told{};
    std::memcpy(static_cast<void*>(&answer), bytes->data(), sizeof(answer));
    std::memcpy(&told,
                bytes->data() + sizeof(answer) + static_cast<std::size_t>(rank_) * sizeof(told),
                sizeof(told));
    if (answer.magic != IdAnswer{}.magic || told != request.nonce) return std::nullopt;
    return answer.id;
  }
  template <class T>
  [[nodiscard]] std::optional<T> read(const std::string& path) const {
    const auto bytes = read_own_file(path, sizeof(T), at_);
    T value;
    if (!bytes) return std::nullopt;
    std::memcpy(static_cast<void*>(&value), bytes->data(), sizeof(T));
    if (value.magic != T{}.magic) return std::nullopt;
    return value;
  }
  /// Until `look()` returns nothing; past the deadline what it returned is the error.
  template <class Look>
  void until_deadline(const Look& look) const {
    const auto until = std::chrono::steady_clock::now() + deadline_;
    for (;;) {
      const std::string waits = look();
      if (waits.empty()) return;
      require<TimeoutError>(std::chrono::steady_clock::now() < until, at_, waits, path_, " within ",
                            deadline_.count(), " ms");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  const std::string path_;
  const int rank_, size_;
  const std::chrono::milliseconds deadline_;
  const ErrorContext at_{.rank = rank_, .operation = "share_by_file"};
};

}  // namespace detail

/// Collective over `size` processes (or threads) of one user that see one folder: rank 0 makes an id
/// and every rank returns it. `path` is a file name that is this run's alone, in a folder that
/// exists; `path.<rank>` are used as well. All are gone when it returns, and what a run that was
/// killed left there is never taken for this run's.
[[nodiscard]] inline NcclUniqueId share_by_file(
    const std::string& path, int rank, int size,
    std::chrono::milliseconds deadline = default_deadline) {
  detail::IdByFile exchange(path, rank, size, deadline);
  return rank == 0 ? exchange.give() : exchange.take();
}

}  // namespace dpgather
