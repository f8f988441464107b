// Control plane between processes of one host, in POSIX shared memory.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dpgather/comm/board.hpp>
#include <dpgather/comm/control_plane.hpp>

namespace dpgather {

/// `name` identifies the job on this host ("/job42"); rank 0 creates the segment and removes its
/// name once all ranks are attached, so that nothing stays behind. A segment of a creator that is
/// gone is replaced. A rank whose process dies frees the others within some 20 ms.
class SharedMemoryControl {
 public:
  SharedMemoryControl(std::string name, int rank, int size,
                      std::chrono::milliseconds deadline = default_deadline)
      : name_(std::move(name)), rank_(rank), size_(size), deadline_(deadline) {
    require(size >= 1 && size <= detail::Board::max_ranks && rank >= 0 && rank < size, where(),
            "rank ", rank, " of size ", size, " is impossible; size is 1 to ",
            detail::Board::max_ranks);
    require(name_.size() >= 2 && name_.size() <= 200 && name_[0] == '/' &&
                name_.find('/', 1) == std::string::npos,
            where(), "segment name \"", name_, "\" must be a slash and 1 to 199 other characters");
    const auto limit = std::chrono::steady_clock::now() + deadline;
    if (rank == 0)
      create();
    else
      while (!attach()) sleep_or_throw(limit, "rank 0 to create the segment");
    auto& mine = board().seat(rank).process;
    std::int32_t nobody = 0;
    const bool free_seat = mine.compare_exchange_strong(nobody, getpid());
    if (!free_seat) unmap();
    require(free_seat, where(), "rank ", rank, " is taken by process ", nobody);
    if (rank == 0) {
      for (int peer = 1; peer < size; ++peer)
        while (board().seat(peer).process.load() == 0)
          sleep_or_throw(limit, concat("rank ", peer, " to attach"));
      shm_unlink(name_.c_str());
    }
    seat_.emplace(board(), rank, deadline, "SharedMemoryControl");
  }
  SharedMemoryControl(const SharedMemoryControl&) = delete;
  SharedMemoryControl& operator=(const SharedMemoryControl&) = delete;
  ~SharedMemoryControl() {
    seat_->depart(std::uncaught_exceptions() > exceptions_);
    unmap();
  }

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  void post(std::span<const std::byte> mine) { seat_->post(mine); }
  void wait(std::span<std::byte> all) { seat_->wait(all); }
  void abort(std::string_view reason) { seat_->abort(reason); }
  void check() const { seat_->check(); }

 private:
  /// In front of the board. `ready` is set last; a reader that finds it sees all the rest.
  struct alignas(128) Header {
    std::atomic<std::uint32_t> ready{0};
    std::int32_t creator = 0;
    std::int32_t size = 0;
  };
  static constexpr std::uint32_t ready_mark = 0x64706762;

  [[nodiscard]] ErrorContext where() const {
    return {.rank = rank_, .operation = "SharedMemoryControl"};
  }
  [[nodiscard]] std::size_t bytes() const { return sizeof(Header) + detail::Board::bytes(size_); }
  [[nodiscard]] Header& header() const { return *static_cast<Header*>(memory_); }
  [[nodiscard]] detail::Board& board() const {
    return *reinterpret_cast<detail::Board*>(&header() + 1);
  }

  [[noreturn]] void throw_system(std::string_view call, int error) const {
    throw Error(where(), concat(call, " of \"", name_, "\" failed: ", std::strerror(error)));
  }
  void sleep_or_throw(std::chrono::steady_clock::time_point limit, std::string_view what) {
    if (std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return;
    }
    if (rank_ == 0) shm_unlink(name_.c_str());
    unmap();
    throw TimeoutError(where(), concat("waited ", deadline_.count(), " ms for ", what));
  }
  void map(int file) {
    void* memory = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    const int error = errno;
    close(file);
    if (memory == MAP_FAILED) throw_system("mmap", error);
    memory_ = memory;
  }
  void unmap() {
    if (memory_ != nullptr) munmap(memory_, bytes());
    memory_ = nullptr;
  }

  void create() {
    int file = shm_open(name_.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file < 0 && errno == EEXIST) {
      remove_stale();
      file = shm_open(name_.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    }
    if (file < 0) throw_system("shm_open", errno);
    if (ftruncate(file, static_cast<off_t>(bytes())) != 0) {
      const int error = errno;
      close(file);
      shm_unlink(name_.c_str());
      throw_system("ftruncate", error);
    }
    map(file);
    auto* head = new (memory_) Header;
    head->creator = getpid();
    head->size = size_;
    detail::Board::create(head + 1, size_);
    head->ready.store(ready_mark, std::memory_order_release);
  }
  /// Unlinks a segment whose creator is gone; one whose creator lives is another job's.
  void remove_stale() {
    const int file = shm_open(name_.c_str(), O_RDWR, 0600);
    if (file < 0) return;
    std::int32_t creator = 0;
    void* head = mmap(nullptr, sizeof(Header), PROT_READ, MAP_SHARED, file, 0);
    struct stat status = {};
    if (head != MAP_FAILED) {
      if (fstat(file, &status) == 0 && status.st_size >= static_cast<off_t>(sizeof(Header)))
        creator = static_cast<const Header*>(head)->creator;
      munmap(head, sizeof(Header));
    }
    close(file);
    require(creator == 0 || (kill(creator, 0) != 0 && errno == ESRCH), where(), "segment \"", name_,
            "\" belongs to the running process ", creator);
    shm_unlink(name_.c_str());
  }
  /// False while the segment is not there, not ready, or left over from a process that is gone.
  bool attach() {
    const int file = shm_open(name_.c_str(), O_RDWR, 0600);
    if (file < 0) {
      if (errno == ENOENT) return false;
      throw_system("shm_open", errno);
    }
    struct stat status = {};
    if (fstat(file, &status) != 0 || status.st_size < static_cast<off_t>(sizeof(Header))) {
      close(file);
      return false;
    }
    const bool same_size = status.st_size == static_cast<off_t>(bytes());
    map(file);
    const bool usable = header().ready.load(std::memory_order_acquire) == ready_mark &&
                        !(kill(header().creator, 0) != 0 && errno == ESRCH);
    if (usable && same_size) return true;
    const std::int32_t theirs = usable ? header().size : 0;
    unmap();
    require(!usable, where(), "segment \"", name_, "\" was made ",
            theirs == size_ ? "by another version of the library"
                            : concat("for size ", theirs, ", not ", size_));
    return false;
  }

  std::string name_;
  int rank_;
  int size_;
  std::chrono::milliseconds deadline_;
  int exceptions_ = std::uncaught_exceptions();
  void* memory_ = nullptr;
  std::optional<detail::BoardSeat> seat_;
};

static_assert(ControlPlane<SharedMemoryControl>);

}  // namespace dpgather
