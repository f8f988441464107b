// Small files between processes of one user: whole or not there at all.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dpgather/core/error.hpp>

namespace dpgather::detail {

/// A file that appears whole or not at all, is readable by its owner alone, and goes with this
/// object.
class OwnedFile {
 public:
  OwnedFile(std::string path, const ErrorContext& at) : path_(std::move(path)), at_(at) {}
  OwnedFile(const OwnedFile&) = delete;
  OwnedFile& operator=(const OwnedFile&) = delete;
  ~OwnedFile() { remove(); }
  void remove() {
    if (std::exchange(written_, false)) ::unlink(path_.c_str());
  }
  void write(const std::vector<std::byte>& bytes) {
    const std::string draft = concat(path_, ".draft", ::getpid());
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

}  // namespace dpgather::detail
