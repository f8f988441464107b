#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dpgather/comm/shared_memory_control.hpp>

using namespace dpgather;
using namespace std::chrono_literals;

namespace {

std::string fresh_name() {
  static int n = 0;
  return concat("/dpgather_test_", getpid(), "_", n++);
}

/// Forks; the child runs `body` and exits with 0, or with 1 if it throws. Threads do not survive a
/// fork, so the child must not use doctest.
template <class Body>
pid_t child(Body body) {
  const pid_t process = fork();
  if (process != 0) return process;
  int status = 1;
  try {
    body();
    status = 0;
  } catch (...) {
  }
  _exit(status);
}
int exit_status(pid_t process) {
  int status = 0;
  waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Exchanges `rounds` records of one int and checks each rank's.
void exchange(SharedMemoryControl& control, int rounds) {
  std::vector<int> all(static_cast<std::size_t>(control.size()));
  for (int round = 0; round < rounds; ++round) {
    const int mine = round * 100 + control.rank();
    control.post(std::as_bytes(std::span(&mine, 1)));
    control.wait(std::as_writable_bytes(std::span(all)));
    for (int rank = 0; rank < control.size(); ++rank)
      if (all[static_cast<std::size_t>(rank)] != round * 100 + rank)
        throw std::logic_error("wrong record");
  }
}

}  // namespace

TEST_CASE("processes of one host exchange records, and leave no segment behind") {
  for (const int size : {1, 2, 3}) {
    const std::string name = fresh_name();
    std::vector<pid_t> children;
    for (int rank = 1; rank < size; ++rank)
      children.push_back(child([&, rank] {
        SharedMemoryControl control(name, rank, size, 10s);
        exchange(control, 500);
      }));
    {
      SharedMemoryControl control(name, 0, size, 10s);
      exchange(control, 500);
    }
    for (const pid_t process : children) CHECK(exit_status(process) == 0);
    CHECK(shm_unlink(name.c_str()) != 0);
  }
}

TEST_CASE("a process that is killed frees those that wait for it, long before the deadline") {
  const std::string name = fresh_name();
  const pid_t victim = child([&] {
    SharedMemoryControl control(name, 1, 2, 60s);
    exchange(control, 1);
    pause();
  });
  SharedMemoryControl control(name, 0, 2, 60s);
  exchange(control, 1);
  kill(victim, SIGKILL);
  CHECK(exit_status(victim) == 128 + SIGKILL);
  const auto begin = std::chrono::steady_clock::now();
  CHECK_THROWS_WITH_AS(exchange(control, 1), doctest::Contains("is gone"), PeerError);
  CHECK(std::chrono::steady_clock::now() - begin < 20s);
}

TEST_CASE("a segment whose creator is gone is replaced; one whose creator lives is not touched") {
  const std::string name = fresh_name();
  // The child creates the segment and dies while it waits for rank 1.
  const pid_t dead = child([&] { SharedMemoryControl control(name, 0, 2, 60s); });
  while (true) {
    const int file = shm_open(name.c_str(), O_RDWR, 0600);
    if (file >= 0) {
      close(file);
      break;
    }
    std::this_thread::sleep_for(1ms);
  }
  std::this_thread::sleep_for(20ms);
  CHECK_THROWS_WITH_AS((SharedMemoryControl(name, 0, 2, 1s)),
                       doctest::Contains("belongs to the running process"), InvalidArgument);
  kill(dead, SIGKILL);
  exit_status(dead);
  SharedMemoryControl control(name, 0, 1, 1s);
  exchange(control, 3);
}

TEST_CASE("a segment of another size, or laid out by another version of the library, is refused") {
  const std::string name = fresh_name();
  const pid_t creator = child([&] { SharedMemoryControl control(name, 0, 2, 60s); });
  CHECK_THROWS_WITH_AS((SharedMemoryControl(name, 1, 3, 60s)),
                       doctest::Contains("was made for size 2, not 3"), InvalidArgument);
  const int file = shm_open(name.c_str(), O_RDWR, 0600);
  REQUIRE(file >= 0);
  struct stat status = {};
  REQUIRE(fstat(file, &status) == 0);
  REQUIRE(ftruncate(file, status.st_size + 4096) == 0);
  close(file);
  CHECK_THROWS_WITH_AS((SharedMemoryControl(name, 1, 2, 60s)),
                       doctest::Contains("another version of the library"), InvalidArgument);
  kill(creator, SIGKILL);
  exit_status(creator);
  shm_unlink(name.c_str());
}

TEST_CASE("a rank that finds no segment, or whose peers do not come, says so at the deadline") {
  CHECK_THROWS_WITH_AS((SharedMemoryControl(fresh_name(), 1, 2, 30ms)),
                       doctest::Contains("rank 0 to create the segment"), TimeoutError);
  const std::string name = fresh_name();
  CHECK_THROWS_WITH_AS((SharedMemoryControl(name, 0, 2, 30ms)),
                       doctest::Contains("rank 1 to attach"), TimeoutError);
  CHECK(shm_unlink(name.c_str()) != 0);
}

TEST_CASE("impossible names, ranks and sizes are refused") {
  CHECK_THROWS_AS((SharedMemoryControl("no_slash", 0, 1)), InvalidArgument);
  CHECK_THROWS_AS((SharedMemoryControl("/two/slashes", 0, 1)), InvalidArgument);
  CHECK_THROWS_AS((SharedMemoryControl("/x", 1, 1)), InvalidArgument);
  CHECK_THROWS_AS((SharedMemoryControl("/x", 0, 0)), InvalidArgument);
}
