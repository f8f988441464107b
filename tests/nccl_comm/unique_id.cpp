// How an id gets to all ranks. The files are real, and so are the threads and processes.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dpgather/comm/callable_control.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>
#include <dpgather/comm/nccl/unique_id_file.hpp>
#include <dpgather/comm/thread.hpp>

#include "nccl_comm/harness.hpp"
#include "support/folder.hpp"

namespace {

using namespace nccl_test;
using dpgather::NcclUniqueId;
using dpgather::share_by_file;
using dpgather::TimeoutError;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

struct Folder : support::Folder {
  [[nodiscard]] std::string id() const { return file("id"); }
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
void wait_for_file(const std::string& path) {
  for (int i = 0; i < 5000 && !fs::exists(path); ++i) std::this_thread::sleep_for(milliseconds(1));
  expect(fs::exists(path), path, " did not appear");
}

/// All ranks as threads; returns each one's id.
std::vector<NcclUniqueId> share(const std::string& path, int size) {
  std::vector<NcclUniqueId> ids(static_cast<std::size_t>(size));
  dpgather::run_ranks(size, [&](int rank) {
    ids[static_cast<std::size_t>(rank)] = share_by_file(path, rank, size, std::chrono::minutes(2));
  });
  return ids;
}
bool all_equal(const std::vector<NcclUniqueId>& ids) {
  for (const auto& id : ids)
    if (!(id == ids.front()) || id == NcclUniqueId{}) return false;
  return true;
}

TEST_CASE("ids differ, and survive NCCL's own form") {
  const auto a = NcclUniqueId::create(), b = NcclUniqueId::create();
  CHECK(!(a == b));
  const ncclUniqueId raw = a.get();
  CHECK(std::memcmp(raw.internal, a.bytes.data(), sizeof raw.internal) == 0);
}

TEST_CASE("a control plane sends an id to every rank") {
  for (const int size : {1, 2, 5}) {
    const auto board = std::make_shared<dpgather::ThreadControlBoard>(size);
    std::vector<NcclUniqueId> ids(static_cast<std::size_t>(size));
    dpgather::run_ranks(size, [&](int rank) {
      dpgather::ThreadControl control(board, rank);
      ids[static_cast<std::size_t>(rank)] = dpgather::share_by(control);
    });
    CHECK(all_equal(ids));
  }
}

TEST_CASE("if rank 0 cannot make an id, a control plane tells every rank why") {
  const sim::nccl::WithOptions older({.version = NCCL_VERSION_CODE - 1});
  const auto board = std::make_shared<dpgather::ThreadControlBoard>(3);
  dpgather::run_ranks(3, [&](int rank) {
    dpgather::ThreadControl control(board, rank);
    const auto share = [&] { static_cast<void>(dpgather::share_by(control)); };
    if (rank == 0)
      throws<dpgather::NcclError>(share, {"older"});
    else
      throws<dpgather::PeerError>(share, {"older"});
  });
}

TEST_CASE("a file sends an id to every rank, again and again, and leaves nothing") {
  const Folder folder;
  for (const int size : {1, 2, 4, 7}) {
    const auto first = share(folder.id(), size), second = share(folder.id(), size);
    CHECK(all_equal(first));
    CHECK(all_equal(second));
    CHECK(!(first[0] == second[0]));
    CHECK(folder.empty());
  }
}

TEST_CASE("ranks may share again at once, by the same file") {
  const Folder folder;
  constexpr int size = 4, rounds = 10;
  std::vector<std::vector<NcclUniqueId>> ids(rounds, std::vector<NcclUniqueId>(size));
  dpgather::run_ranks(size, [&](int rank) {
    for (auto& round : ids)
      round[static_cast<std::size_t>(rank)] =
          share_by_file(folder.id(), rank, size, std::chrono::minutes(2));
  });
  for (std::size_t i = 0; i < rounds; ++i) {
    CHECK(all_equal(ids[i]));
    if (i > 0) CHECK(!(ids[i][0] == ids[i - 1][0]));
  }
  CHECK(folder.empty());
}

TEST_CASE("a file sends an id between processes") {
  const Folder folder;
  std::vector<pid_t> children;
  for (int rank = 1; rank < 4; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      try {
        const auto id = share_by_file(folder.id(), rank, 4, std::chrono::minutes(2));
        write(concat(folder.id(), ".got", rank),
              std::string(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()));
        _exit(0);
      } catch (...) {
        _exit(1);
      }
    }
    children.push_back(child);
  }
  const auto id = share_by_file(folder.id(), 0, 4, std::chrono::minutes(2));
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  for (int rank = 1; rank < 4; ++rank) {
    CHECK(contents(concat(folder.id(), ".got", rank)) ==
          std::string(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()));
    fs::remove(concat(folder.id(), ".got", rank));
  }
  CHECK(folder.empty());
}

TEST_CASE("files are the owner's alone") {
  const Folder folder;
  dpgather::run_ranks(2, [&](int rank) {
    if (rank == 0) {
      wait_for_file(folder.id() + ".1");
      expect((fs::status(folder.id() + ".1").permissions() & fs::perms::mask) ==
                 (fs::perms::owner_read | fs::perms::owner_write),
             "others may read it");
    }
    static_cast<void>(share_by_file(folder.id(), rank, 2, std::chrono::minutes(2)));
  });
}

/// What a run of three leaves that is killed while it shares an id.
struct Killed {
  static std::string text(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static std::string request(int rank) {
    return text(dpgather::detail::to_bytes(
        dpgather::detail::IdRequest{.rank = rank, .size = 3, .nonce = {1, 2, 3, 4}}));
  }
  std::string request1 = request(1), request2 = request(2);
  std::string answer =
      text(dpgather::detail::to_bytes(dpgather::detail::IdAnswer{.id = NcclUniqueId::create()},
                                      3 * sizeof(dpgather::detail::RunNonce)));
};

TEST_CASE("what a killed run left is never taken for this run's") {
  const Folder folder;
  const Killed killed;
  SUBCASE("its answer") {
    write(folder.id(), killed.answer);
    throws<TimeoutError>(
        [&] { static_cast<void>(share_by_file(folder.id(), 1, 3, milliseconds(100))); },
        {"rank 1", "rank 0 did not write an id for this run", "of another", "100 ms"});
    CHECK(contents(folder.id()) == killed.answer);
  }
  SUBCASE("its answer, with this run's after it") {
    write(folder.id(), killed.answer);
  }
  SUBCASE("a request") {
    write(folder.id() + ".1", killed.request1);
  }
  SUBCASE("all of it") {
    write(folder.id(), killed.answer);
    write(folder.id() + ".1", killed.request1);
    write(folder.id() + ".2", killed.request2);
  }
  SUBCASE("files that are nothing") {
    write(folder.id(), "short");
    write(folder.id() + ".1", std::string(5000, 'x'));
    write(folder.id() + ".2", std::string(killed.request1.size(), '\0'));
  }
  const auto ids = share(folder.id(), 3);
  CHECK(all_equal(ids));
  CHECK(folder.empty());
}

TEST_CASE("a rank that comes late to its own stale request is answered anew") {
  const Folder folder;
  const Killed killed;
  write(folder.id() + ".1", killed.request1);
  write(folder.id() + ".2", killed.request2);
  std::vector<NcclUniqueId> ids(3);
  dpgather::run_ranks(3, [&](int rank) {
    if (rank != 0) {
      wait_for_file(folder.id());  // rank 0 has answered the stale request
      std::this_thread::sleep_for(milliseconds(20 * rank));
    }
    ids[static_cast<std::size_t>(rank)] =
        share_by_file(folder.id(), rank, 3, std::chrono::minutes(2));
  });
  CHECK(all_equal(ids));
  CHECK(folder.empty());
}

TEST_CASE("a rank that is missing is an error past the deadline, with its number and the path") {
  const Folder folder;
  throws<TimeoutError>(
      [&] { static_cast<void>(share_by_file(folder.id(), 0, 4, milliseconds(60))); },
      {"ranks 1, 2, 3 did not come", folder.id(), "60 ms"});
  throws<TimeoutError>(
      [&] { static_cast<void>(share_by_file(folder.id(), 2, 4, milliseconds(60))); },
      {"rank 2", "rank 0 did not write an id", folder.id(), "60 ms"});
  CHECK(folder.empty());
}

TEST_CASE("wrong ranks, paths and deadlines are errors at once") {
  const Folder folder;
  const auto refuses = [](const std::string& path, int rank, int size, milliseconds deadline,
                          std::initializer_list<std::string_view> parts) {
    throws<dpgather::InvalidArgument>(
        [&] { static_cast<void>(share_by_file(path, rank, size, deadline)); }, parts);
  };
  refuses(folder.id(), 3, 3, milliseconds(9), {"rank 3 of size 3"});
  refuses("", 0, 3, milliseconds(9), {"path is empty"});
  refuses(folder.id(), 0, 3, milliseconds(0), {"deadline is 0 ms"});
  for (const int rank : {0, 1})
    throws<dpgather::Error>(
        [&] {
          if (rank == 0) write(folder.id() + ".1", "");
          static_cast<void>(
              share_by_file(folder.id() + "/in/no/folder", rank, 2, milliseconds(60)));
        },
        {"folder"});
}

TEST_CASE("another user's file is refused") {
  if (geteuid() != 0) {
    MESSAGE("skipped: only root can give files away");
    return;
  }
  const Folder folder;
  const Killed killed;
  write(folder.id(), killed.answer);
  REQUIRE(chown(folder.id().c_str(), 12345, 12345) == 0);
  throws<dpgather::Error>(
      [&] { static_cast<void>(share_by_file(folder.id(), 1, 3, std::chrono::seconds(60))); },
      {"belongs to user 12345"});
}

}  // namespace
