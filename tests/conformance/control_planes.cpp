// One suite for every control plane: records intact and in order, abort, departure, deadline,
// misuse.
#include <array>
#include <cstring>
#include <thread>

#include "conformance/control_worlds.hpp"
#include "support/allocations.hpp"

using namespace conformance;
using dpgather::InvalidArgument;
using dpgather::PeerError;
using dpgather::TimeoutError;

namespace {

using Bytes = std::vector<std::byte>;

/// Every byte follows from rank and round.
Bytes record(int rank, int round, std::size_t bytes) {
  support::Random random(static_cast<std::uint64_t>(rank) * 1000003u +
                         static_cast<std::uint64_t>(round));
  Bytes all(bytes);
  for (auto& byte : all) byte = static_cast<std::byte>(random.bits() & 0xff);
  return all;
}

template <class Plane>
void round_trip(Plane& plane, Rank rank, int round, std::size_t bytes) {
  Bytes mine = record(rank.rank, round, bytes);
  Bytes all(bytes * static_cast<std::size_t>(rank.size)), want;
  plane.post(mine);
  mine.assign(bytes, std::byte{0xEE});  // it was copied
  plane.wait(all);
  for (int r = 0; r < rank.size; ++r) {
    const Bytes theirs = record(r, round, bytes);
    want.insert(want.end(), theirs.begin(), theirs.end());
  }
  rank.findings.expect(all == want,
                       concat("records of round ", round, " differ, ", bytes, " bytes each"));
}

}  // namespace

TEST_CASE_TEMPLATE("records of many rounds arrive whole and in order", Planes, CONFORMANCE_PLANES) {
  with_plane<Planes>([](auto& plane, Rank rank) {
    rank.findings.expect(plane.rank() == rank.rank && plane.size() == rank.size,
                         "rank or size is wrong");
    for (const std::size_t bytes : {1, 8, 200, 1000})
      for (int round = 0; round < 100; ++round) {
        if ((round + rank.rank) % 13 == 0)
          std::this_thread::sleep_for(std::chrono::microseconds(300));
        round_trip(plane, rank, round, bytes);
      }
  });
}

TEST_CASE_TEMPLATE("zeros in a record and at its end arrive, whatever was there before", Planes,
                   CONFORMANCE_PLANES) {
  // From some byte on all are zeros, another on each rank and in each round; from another on, too, but one.
  const auto with_zeros = [](int rank, int round, std::size_t bytes) {
    Bytes all = record(rank, round, bytes);
    support::Random random(static_cast<std::uint64_t>(round * 31 + rank));
    const auto most = static_cast<std::int64_t>(bytes);
    const auto from = all.begin() + random.between(0, most);
    std::fill(from, all.end(), std::byte{0});
    if (round % 3 == 0) all[static_cast<std::size_t>(random.between(0, most - 1))] = std::byte{1};
    return all;
  };
  with_plane<Planes>([&](auto& plane, Rank rank) {
    for (const int size : {1, 7, 64, 65, 121, 560, 1024}) {
      const auto bytes = static_cast<std::size_t>(size);
      Bytes all(bytes * static_cast<std::size_t>(rank.size));
      for (int round = 0; round < 40; ++round) {
        std::fill(all.begin(), all.end(), std::byte{0xEE});
        plane.post(with_zeros(rank.rank, round, bytes));
        plane.wait(all);
        Bytes want;
        for (int r = 0; r < rank.size; ++r) {
          const Bytes theirs = with_zeros(r, round, bytes);
          want.insert(want.end(), theirs.begin(), theirs.end());
        }
        rank.findings.expect(all == want, concat("round ", round, " of ", bytes, " bytes"));
      }
    }
  });
}

TEST_CASE_TEMPLATE("work between post and wait overlaps the exchange", Planes, CONFORMANCE_PLANES) {
  with_plane<Planes>([](auto& plane, Rank rank) {
    // Nobody waits before all have posted, so a post that blocked would hang at the barrier.
    Bytes all(8 * static_cast<std::size_t>(rank.size));
    for (int round = 0; round < 5; ++round) {
      plane.post(record(rank.rank, round, 8));
      rank.barrier();
      plane.wait(all);
      const Bytes last = record(rank.size - 1, round, 8);
      rank.findings.expect(std::equal(last.begin(), last.end(), all.end() - 8),
                           concat("round ", round));
    }
  });
}

TEST_CASE_TEMPLATE("post and wait allocate nothing after the first", Planes, CONFORMANCE_PLANES) {
  with_plane<Planes>([](auto& plane, Rank rank) {
    const Bytes mine = record(rank.rank, 0, 128);
    Bytes all(128 * static_cast<std::size_t>(rank.size));
    std::uint64_t warm = 0;
    for (int round = 0; round < 20; ++round) {
      plane.post(mine);
      plane.wait(all);
      if (round == 0) warm = support::allocations_of_this_thread();
    }
    const auto more = support::allocations_of_this_thread() - warm;
    rank.findings.expect(more == 0, concat(more, " allocations"));
  });
}

TEST_CASE_TEMPLATE("a wrong use of a plane is an error and changes nothing", Planes,
                   CONFORMANCE_PLANES) {
  with_plane<Planes>([](auto& plane, Rank rank) {
    const Bytes mine = record(rank.rank, 0, 16);
    Bytes all(16 * static_cast<std::size_t>(rank.size)), short_by_one(all.size() - 1);
    rank.findings.template throws<InvalidArgument>([&] { plane.wait(all); }, "wait before post");
    plane.post(mine);
    rank.findings.template throws<InvalidArgument>([&] { plane.post(mine); }, "post after post");
    rank.findings.template throws<InvalidArgument>(
        [&] { plane.wait(short_by_one); }, "too little room", {concat(short_by_one.size())});
    plane.wait(all);
    rank.findings.expect(std::equal(mine.begin(), mine.end(), all.begin() + 16 * rank.rank),
                         "own record");
    round_trip(plane, rank, 1, 16);
  });
}

TEST_CASE_TEMPLATE("an aborted plane frees waiting ranks with its reason, and stays so", Planes,
                   CONFORMANCE_PLANES) {
  with_plane<Planes>([](auto& plane, Rank rank) {
    for (int round = 0; round < 3; ++round) round_trip(plane, rank, round, 64);
    rank.barrier();  // an abort does not wait for the round before to end everywhere
    plane.check();   // nothing has failed
    rank.barrier();
    if (Planes::abort_reaches_peers ? rank.rank == 0 : true) plane.abort("no memory left");
    const Bytes mine = record(rank.rank, 9, 64);
    Bytes all(64 * static_cast<std::size_t>(rank.size));
    for (int again = 0; again < 3; ++again)
      rank.findings.template throws<PeerError>(
          [&] {
            plane.post(mine);
            plane.wait(all);
          },
          "a round after it", {"no memory left"});
    rank.findings.template throws<PeerError>([&] { plane.check(); }, "check after it",
                                             {"no memory left"});
    rank.barrier();
  });
}

TEST_CASE_TEMPLATE("a rank that throws frees the ranks that wait for its record", Planes,
                   CONFORMANCE_PLANES) {
  with_plane<Planes>(
      [](auto& plane, Rank rank) {
        round_trip(plane, rank, 0, 64);
        rank.barrier();  // an abort does not wait for the round before to end everywhere
        if (rank.rank == rank.size - 1) throw Planned("nobody catches this");
        const Bytes mine = record(rank.rank, 1, 64);
        Bytes all(64 * static_cast<std::size_t>(rank.size));
        for (int again = 0; again < 2; ++again)
          rank.findings.template throws<PeerError>(
              [&] {
                plane.post(mine);
                plane.wait(all);
              },
              "the wait", {concat("rank ", rank.size - 1, " ended with an exception")});
      },
      2);
}

TEST_CASE_TEMPLATE("a rank that leaves is named to those that wait", Planes, CONFORMANCE_PLANES) {
  with_plane<Planes>(
      [](auto& plane, Rank rank) {
        // It took part in these, so they end well on all ranks however early it is gone.
        for (int round = 0; round < 3; ++round) round_trip(plane, rank, round, 64);
        if (rank.rank == 0) return;
        const Bytes mine = record(rank.rank, 3, 64);
        Bytes all(64 * static_cast<std::size_t>(rank.size));
        rank.findings.template throws<PeerError>(
            [&] {
              plane.post(mine);
              plane.wait(all);
            },
            "the wait", {"rank 0 left"});
      },
      2);
}

TEST_CASE_TEMPLATE("a record that never comes is an error past the deadline", Planes,
                   CONFORMANCE_PLANES) {
  with_plane<Planes>(
      [](auto& plane, Rank rank) {
        round_trip(plane, rank, 0, 64);
        const Bytes mine = record(rank.rank, 1, 64);
        Bytes all(64 * static_cast<std::size_t>(rank.size));
        if (rank.rank != rank.size - 1) {
          const auto start = std::chrono::steady_clock::now();
          plane.post(mine);
          try {
            plane.wait(all);
            rank.findings.expect(false, "no error came");
          } catch (const dpgather::Error&
                       error) {  // TimeoutError, or PeerError if another's was earlier
            rank.findings.expect(dynamic_cast<const TimeoutError*>(&error) != nullptr ||
                                     dynamic_cast<const PeerError*>(&error) != nullptr,
                                 "neither TimeoutError nor PeerError");
            rank.findings.expect(error.detail().find("within 300 ms") != std::string::npos,
                                 error.what());
          }
          const auto waited = std::chrono::steady_clock::now() - start;
          rank.findings.expect(
              waited > std::chrono::milliseconds(150) && waited < std::chrono::seconds(10),
              concat("waited ", std::chrono::duration<double>(waited).count(), " s"));
        }
        rank.barrier();
        rank.findings.template throws<PeerError>(
            [&] {
              plane.post(mine);
              plane.wait(all);
            },
            "the late one", {"within 300 ms"});
        rank.barrier();
      },
      2, Milliseconds(300));
}
