// What only MpiComm has: MPI's limits, parents other than the world, and objects given back to MPI.
#include <limits>

#include <doctest/doctest.h>

#include "conformance/mpi_world.hpp"

using namespace conformance;
using dpgather::HostStream;
using dpgather::InvalidArgument;

namespace {

constexpr HostStream stream;
using Comm = dpgather::MpiComm<dpgather::CheckLevel::free>;

}  // namespace

TEST_CASE("more elements than MPI can count are refused at every check level") {
  const std::string found = run_processes([](Rank rank) {
    Comm comm;
    float x = 0;
    constexpr std::int64_t limit = std::numeric_limits<int>::max();
    const auto refuses = [&](const auto& f, std::string_view number) {
      rank.findings.throws<InvalidArgument>(f, "too many elements", {number, "2147483647"});
    };
    refuses([&] { comm.all_reduce(&x, &x, limit + 1, stream); }, "2147483648");
    refuses([&] { comm.broadcast(&x, limit + 1, 0, stream); }, "2147483648");
    refuses([&] { comm.all_gather(&x, &x, limit / rank.size + 1, stream); },
            concat(limit / rank.size + 1));
    refuses([&] { comm.reduce_scatter(&x, &x, limit / rank.size + 1, stream); },
            concat(limit / rank.size + 1));
    std::vector<std::int64_t> counts(static_cast<std::size_t>(rank.size), 1),
        offsets(counts.size(), 0);
    offsets.back() = limit;
    refuses([&] { comm.all_gather_v(&x, &x, counts, offsets, stream); },
            concat("rank ", rank.size - 1));
    refuses([&] { comm.reduce_scatter_v(&x, &x, counts, offsets, stream); },
            concat("rank ", rank.size - 1));
    float one = 1;
    comm.all_reduce(&one, &x, 1, stream);
    rank.findings.expect(x == static_cast<float>(rank.size), "the call after them");
  });
  CHECK_MESSAGE(found.empty(), found);
}

TEST_CASE("a part of the world is a parent as good as the world") {
  const std::string found = run_processes([](Rank rank) {
    const auto part = dpgather::mpi::split(MPI_COMM_WORLD, rank.rank % 2, -rank.rank);
    Comm comm(part.get());
    dpgather::MpiControl control(part.get());
    rank.findings.expect(comm.size() == dpgather::mpi::size_of(part.get()) &&
                             comm.rank() == dpgather::mpi::rank_of(part.get()),
                         "rank or size");
    rank.findings.expect(control.size() == comm.size() && control.rank() == comm.rank(),
                         "rank or size of the control plane");
    std::int32_t mine = rank.rank;
    std::vector<std::int32_t> all(static_cast<std::size_t>(comm.size()));
    comm.all_gather(&mine, all.data(), 1, stream);
    rank.findings.expect(std::is_sorted(all.rbegin(), all.rend()), "order of the ranks");
  });
  CHECK_MESSAGE(found.empty(), found);
  CHECK_THROWS_WITH_AS(Comm(MPI_COMM_NULL), "[MpiComm] the MPI communicator is MPI_COMM_NULL",
                       InvalidArgument);
  CHECK_THROWS_AS(Comm(MPI_COMM_WORLD, std::chrono::milliseconds(0)), InvalidArgument);
}

TEST_CASE("communicators made and destroyed again and again are given back to MPI") {
  const std::string found = run_processes([](Rank rank) {
    for (int i = 0; i < 60; ++i) {
      Comm comm;
      auto part = comm.split(rank.rank % 2, 0);
      float one = 1, total = 0;
      if (i % 2 == 0) part.all_reduce(&one, &total, 1, stream);
    }
    rank.barrier();
    Comm last;  // its constructor tidies up what the barrier made sure of
    for (int i = 0; i < 1000 && dpgather::detail::MpiProcess::get().retired() > 0; ++i) {
      dpgather::detail::MpiProcess::get().tidy();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const auto retired = dpgather::detail::MpiProcess::get().retired();
    rank.findings.expect(retired == 0, concat(retired, " are still kept"));
  });
  CHECK_MESSAGE(found.empty(), found);
}

TEST_CASE("sums of 16-bit floats are rounded once a pair, not truncated") {
  const std::string found = run_processes([](Rank rank) {
    Comm comm;
    // 1 + 2^-8 lies half way between two bf16: to even is 1. 1 + 3 * 2^-8 goes up.
    const dpgather::bf16 low[] = {dpgather::bf16(rank.rank == 0   ? 1.0f
                                                 : rank.rank == 1 ? 0x1p-8f
                                                                  : 0.0f),
                                  dpgather::bf16(rank.rank == 0   ? 1.0f
                                                 : rank.rank == 1 ? 0x3p-8f
                                                                  : 0.0f)};
    dpgather::bf16 total[2];
    comm.all_reduce(low, total, 2, stream);
    rank.findings.expect(float(total[0]) == 1.0f, concat("sum is ", float(total[0])));
    rank.findings.expect(float(total[1]) == (rank.size > 1 ? 1.0f + 0x4p-8f : 1.0f),
                         concat("sum is ", float(total[1])));
  });
  CHECK_MESSAGE(found.empty(), found);
}
