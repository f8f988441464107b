// Groups, splits, and what a steady state allocates.
#include <new>

#include "conformance/group_of_calls.hpp"
#include "conformance/worlds.hpp"
#include "support/allocations.hpp"

using namespace conformance;

TEST_CASE_TEMPLATE("the calls of a group are all done at its end", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    Group<World> group(rank);
    for (int salt = 0; salt < 20; ++salt) {
      group.fill(salt);
      group.call(comm, rank.stream);
      group.verify(comm, concat("round ", salt));
    }
    comm.group([] {});
  });
}

TEST_CASE_TEMPLATE("a group whose function throws makes none of its calls", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    Group<World> group(rank);
    rank.findings.template throws<Planned>(
        [&] {
          comm.group([&] {
            comm.all_reduce(group.rows.data(), group.reduced.data(), 8, rank.stream);
            throw Planned("on every rank");
          });
        },
        "the function's own error");
    fetch(comm, rank, group.reduced);
    rank.findings.expect(group.reduced[0] == group.reduced.untouched(), "the call was made");
    group.call(comm, rank.stream);
    group.verify(comm, "after it");
  });
}

TEST_CASE_TEMPLATE("groups do not nest", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    rank.findings.template throws<dpgather::InvalidArgument>(
        [&] { comm.group([&] { comm.group([] {}); }); }, "a group in a group", {"nest"});
    Group<World> group(rank);
    group.call(comm, rank.stream);
    group.verify(comm, "after it");
  });
}

TEST_CASE_TEMPLATE("split makes a communicator a color, in key order, again and again", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    Guarded<std::int32_t, World> mine(1);
    mine[0] = rank.rank;
    put(rank, mine);
    const auto ranks_of = [&](auto& part) {  // world ranks in the part's order
      Guarded<std::int32_t, World> all(part.size());
      part.all_gather(mine.data(), all.data(), 1, rank.stream);
      fetch(part, rank, all);
      return std::vector<std::int32_t>(all.span().begin(), all.span().end());
    };
    for (const int colors : {1, 2, 3})
      for (const bool backwards : {false, true}) {
        std::vector<std::int32_t> want;
        for (int r = 0; r < rank.size; ++r)
          if (r % colors == rank.rank % colors) want.push_back(r);
        if (backwards) std::reverse(want.begin(), want.end());
        auto part = comm.split(rank.rank % colors, backwards ? -rank.rank : rank.rank);
        rank.findings.template equal<std::int32_t>(ranks_of(part), want, concat(colors, " colors"));
        rank.findings.expect(want[static_cast<std::size_t>(part.rank())] == rank.rank,
                             "rank() does not fit");
        // Equal keys: by rank. A split of a split, used while parent and grandparent are, too.
        auto nested = part.split(part.rank() < (part.size() + 1) / 2 ? 7 : 3, 0);
        for (auto* const each : {&nested, &part, &comm}) {
          const float found = count_ranks<World>(*each, rank);
          rank.findings.expect(found == static_cast<float>(each->size()),
                               concat(found, " ranks answer of ", each->size()));
        }
      }
    rank.findings.template throws<dpgather::InvalidArgument>(
        [&] { static_cast<void>(comm.split(-1, 0)); }, "a negative color", {"-1"});
  });
}

TEST_CASE_TEMPLATE("a steady state allocates nothing", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    Group<World> group(rank);
    const Blocks gaps("gaps", std::vector<std::int64_t>(static_cast<std::size_t>(rank.size), 8), 3);
    Guarded<float, World> send(gaps.end);
    const auto step = [&] {
      group.call(comm, rank.stream);
      comm.reduce_scatter_v(send.data(),
                            send.data() + gaps.offsets[static_cast<std::size_t>(rank.rank)],
                            gaps.counts, gaps.offsets, rank.stream);
      comm.all_reduce(group.rows.data(), group.reduced.data(), 8, rank.stream);
    };
    const auto before = support::allocations_of_this_thread();
    ::operator delete(::operator new(1));
    step();
    const auto warm = support::allocations_of_this_thread();
    rank.findings.expect(warm > before, "is anything counted?");
    for (int i = 0; i < 10; ++i) step();
    const auto more = support::allocations_of_this_thread() - warm;
    rank.findings.expect(more == 0, concat(more, " allocations in 10 steps"));
    finish(comm, rank);
  });
}
