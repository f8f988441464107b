// Sends an NcclUniqueId between processes that see the same folder.
#pragma once

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>

namespace dpgather {

namespace detail {

/// A file that appears whole or not at all, is readable by its owner alone, and goes with this
/// object.
class OwnedFile {
 public:
  OwnedFile(std::string path, const ErrorContext& at) : path_(std::move(path)), at_(at) {}
  OwnedFile(const OwnedFile&) = delete;
  OwnedFile& operator=(const OwnedFile&) = delete;
  ~OwnedFile() {
    if (written_) ::unlink(path_.c_str());
  }
  void write(const std::vector<std::byte>& bytes) {
    const std::string draft = concat(path_, ".", ::getpid());
    ::unlink(draft.c_str());
    const int file = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = file >= 0 &&
                ::write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    int error = errno;
    if (file >= 0 && ::close(file) != 0 && good) good = false, error = errno;
    if (good && std::rename(draft.c_str(), path_.c_str()) != 0) good = false, error = errno;
    if (!good) ::unlink(draft.c_str());
    require<Error>(good, at_, "cannot write ", path_, ": ", std::strerror(error));
    written_ = true;
  }

 private:
  std::string path_;
  ErrorContext at_;
  bool written_ = false;
};

/// The contents, if they are `size` bytes; nothing if there is no such file. Another user's file is
/// an error: the id says where ranks connect to.
inline std::optional<std::vector<std::byte>> read_own_file(const std::string& path,
                                                           std::size_t size,
                                                           const ErrorContext& at) {
  const int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  require<Error>(file >= 0 || errno == ENOENT, at, "cannot read ", path, ": ",
                 std::strerror(errno));
  if (file < 0) return std::nullopt;
  struct stat status {};
  const bool known = ::fstat(file, &status) == 0;
  std::vector<std::byte> bytes(size + 1);
  const ssize_t got = ::read(file, bytes.data(), bytes.size());
  ::close(file);
  require<Error>(known && status.st_uid == ::geteuid(), at, path, " belongs to user ",
                 status.st_uid, ", this is user ", ::geteuid());
  if (got != static_cast<ssize_t>(size)) return std::nullopt;
  bytes.resize(size);
  return bytes;
}

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
    until_deadline([&] {
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
    until_deadline([&] {
      const std::size_t nonces = static_cast<std::size_t>(size_) * sizeof(RunNonce);
      const auto bytes = read_own_file(path_, sizeof(IdAnswer) + nonces, at_);
      IdAnswer answer;
      RunNonce told{};
      if (bytes) {
        std::memcpy(static_cast<void*>(&answer), bytes->data(), sizeof(answer));
        std::memcpy(&told,
                    bytes->data() + sizeof(answer) + static_cast<std::size_t>(rank_) * sizeof(told),
                    sizeof(told));
        if (answer.magic == IdAnswer{}.magic && told == request.nonce) {
          id = answer.id;
          return std::string();
        }
      }
      const bool stale = ::access(path_.c_str(), F_OK) == 0;
      return concat("rank 0 did not write an id for this run",
                    stale ? " (what is there is of another) in " : " in ");
    });
    return id;
  }

 private:
  [[nodiscard]] std::string request_path(int rank) const { return concat(path_, ".", rank); }
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
