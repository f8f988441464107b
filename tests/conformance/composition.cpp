// Groups, splits, captured calls, and what a steady state allocates.
#include <optional>

#include "conformance/worlds.hpp"
#include "support/allocations.hpp"

using namespace conformance;
using dpgather::HostStream;
using dpgather::Recording;

namespace {

constexpr HostStream stream;

/// Buffers of a group of five different calls, and what they must hold after it.
struct Group {
  explicit Group(Rank at)
      : rank(at),
        gathered(8 * at.size),
        reduced(8),
        scattered(8),
        sent(8 * at.size),
        rows(8),
        root_data(8),
        ragged(at.size * (at.size + 1) / 2) {
    for (int r = 0; r < at.size; ++r) {
      counts.push_back(r + 1);
      offsets.push_back(r * (r + 1) / 2);
    }
    fill(0);
  }
  void fill(int with) {
    salt = with;
    for (std::int64_t i = 0; i < 8; ++i) rows[i] = value<float>(rank.rank, i, salt);
    for (std::int64_t i = 0; i < 8 * rank.size; ++i) sent[i] = value<float>(rank.rank, i, salt + 1);
    for (std::int64_t i = 0; i < 8; ++i)
      root_data[i] = rank.rank == 0 ? value<double>(0, i, salt + 2) : -1;
  }
  template <class Comm>
  void call(Comm& comm, HostStream on) {
    comm.group([&] {
      comm.all_gather(rows.data(), gathered.data(), 8, on);
      comm.all_reduce(rows.data(), reduced.data(), 8, on);
      comm.reduce_scatter(sent.data(), scattered.data(), 8, on);
      comm.broadcast(root_data.data(), 8, 0, on);
      comm.all_gather_v(sent.data(), ragged.data(), counts, offsets, on);
    });
  }
  void verify(std::string_view when) {
    std::vector<float> gather, reduce, scatter, v;
    std::vector<double> root;
    for (int r = 0; r < rank.size; ++r)
      for (std::int64_t i = 0; i < 8; ++i) gather.push_back(value<float>(r, i, salt));
    for (std::int64_t i = 0; i < 8; ++i) {
      reduce.push_back(sum<float>(rank.size, i, salt));
      scatter.push_back(sum<float>(rank.size, rank.rank * 8 + i, salt + 1));
      root.push_back(value<double>(0, i, salt + 2));
    }
    for (int r = 0; r < rank.size; ++r)
      for (std::int64_t i = 0; i < r + 1; ++i) v.push_back(value<float>(r, i, salt + 1));
    rank.findings.equal<float>(gathered.span(), gather, concat(when, ": all-gather"));
    rank.findings.equal<float>(reduced.span(), reduce, concat(when, ": all-reduce"));
    rank.findings.equal<float>(scattered.span(), scatter, concat(when, ": reduce-scatter"));
    rank.findings.equal<double>(root_data.span(), root, concat(when, ": broadcast"));
    rank.findings.equal<float>(ragged.span(), v, concat(when, ": all-gather-v"));
  }

  Rank rank;
  int salt = 0;
  Guarded<float> gathered, reduced, scattered, sent, rows;
  Guarded<double> root_data;
  Guarded<float> ragged;
  std::vector<std::int64_t> counts, offsets;
};

}  // namespace

TEST_CASE_TEMPLATE("the calls of a group are all done at its end", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    Group group(rank);
    for (int salt = 0; salt < 20; ++salt) {
      group.fill(salt);
      group.call(comm, stream);
      group.verify(concat("round ", salt));
    }
    comm.group([] {});
  });
}

TEST_CASE_TEMPLATE("a group whose function throws makes none of its calls", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    Group group(rank);
    rank.findings.template throws<Planned>(
        [&] {
          comm.group([&] {
            comm.all_reduce(group.rows.data(), group.reduced.data(), 8, stream);
            throw Planned("on every rank");
          });
        },
        "the function's own error");
    rank.findings.expect(group.reduced[0] == Guarded<float>::untouched(), "the call was made");
    group.call(comm, stream);
    group.verify("after it");
  });
}

TEST_CASE_TEMPLATE("groups do not nest", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    rank.findings.template throws<dpgather::InvalidArgument>(
        [&] { comm.group([&] { comm.group([] {}); }); }, "a group in a group", {"nest"});
    Group group(rank);
    group.call(comm, stream);
    group.verify("after it");
  });
}

TEST_CASE_TEMPLATE("a captured call runs at replay, with the counts it was recorded with", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    std::optional<Recording> recording(std::in_place);
    Guarded<float> rows(4), all(4 * rank.size), ragged(4 * rank.size), reduced(4),
        block(4 * rank.size), in_place(4 * rank.size);
    std::optional<std::vector<std::int64_t>> counts(std::in_place,
                                                    static_cast<std::size_t>(rank.size), 4);
    std::optional<std::vector<std::int64_t>> offsets(std::in_place);
    for (int r = 0; r < rank.size; ++r) offsets->push_back(4 * r);
    {
      const HostStream capture(*recording);
      comm.all_gather(rows.data(), all.data(), 4, capture);
      comm.all_gather_v(rows.data(), ragged.data(), *counts, *offsets, capture);
      comm.all_reduce(rows.data(), reduced.data(), 4, capture);
      comm.reduce_scatter_v(in_place.data(), in_place.data() + 4 * rank.rank, *counts, *offsets,
                            capture);
    }
    rank.findings.expect(recording->size() == 4, concat(recording->size(), " operations recorded"));
    rank.findings.expect(recording->operation(1) == "all_gather_v",
                         "the second operation has another name");
    rank.findings.expect(all[0] == Guarded<float>::untouched() && comm.elements_moved() == 0,
                         "ran during capture");
    counts->assign(static_cast<std::size_t>(rank.size), 0);  // a recording must not read these
    counts.reset();
    offsets.reset();
    auto moved_comm = std::move(comm);  // nor point to the handle
    for (int salt = 0; salt < 5; ++salt) {
      std::vector<float> want_all, want_sum, want_block;
      for (std::int64_t i = 0; i < 4; ++i) rows[i] = value<float>(rank.rank, i, salt);
      for (std::int64_t i = 0; i < in_place.size(); ++i)
        in_place[i] = value<float>(rank.rank, i, salt);
      for (int r = 0; r < rank.size; ++r)
        for (std::int64_t i = 0; i < 4; ++i) want_all.push_back(value<float>(r, i, salt));
      for (std::int64_t i = 0; i < 4; ++i) {
        want_sum.push_back(sum<float>(rank.size, i, salt));
        want_block.push_back(sum<float>(rank.size, rank.rank * 4 + i, salt));
      }
      recording->replay();
      rank.findings.equal<float>(all.span(), want_all, concat("all-gather, replay ", salt));
      rank.findings.equal<float>(ragged.span(), want_all, concat("all-gather-v, replay ", salt));
      rank.findings.equal<float>(reduced.span(), want_sum, concat("all-reduce, replay ", salt));
      rank.findings.equal<float>(
          in_place.span().subspan(static_cast<std::size_t>(4 * rank.rank), 4), want_block,
          concat("reduce-scatter-v, replay ", salt));
    }
    // 4n each, all-reduce 2 * 4 (whole shares at these sizes only in the sum over ranks)
    rank.findings.expect(moved_comm.elements_moved() > 0, "replays were not counted");
    recording.reset();
  });
}

TEST_CASE_TEMPLATE("a captured group is one operation, and mixes with eager calls", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    Recording recording;
    Group group(rank), eager(rank);
    group.call(comm, HostStream(recording));
    rank.findings.expect(recording.size() == 1, concat(recording.size(), " operations recorded"));
    for (int salt = 0; salt < 4; ++salt) {
      group.fill(salt);
      eager.fill(salt + 9);
      recording.replay();
      eager.call(comm, stream);
      group.verify(concat("replay ", salt));
      eager.verify(concat("eager ", salt));
    }
    Recording other;
    rank.findings.template throws<dpgather::InvalidArgument>(
        [&] {
          comm.group([&] {
            comm.all_reduce(group.rows.data(), group.reduced.data(), 8, HostStream(other));
            comm.all_reduce(group.rows.data(), eager.reduced.data(), 8, stream);
          });
        },
        "captured and eager calls in one group", {"all captured or all eager"});
    rank.barrier();  // recordings go first, on every rank
  });
}

TEST_CASE_TEMPLATE("a replay after its communicator is gone is refused", World,
                   CONFORMANCE_WORLDS) {
  const auto handler = dpgather::destructor_error_handler();
  dpgather::destructor_error_handler() = +[](const char*) noexcept {};
  at_every_size<World>([](auto& comm, Rank rank) {
    Recording recording;
    Guarded<float> data(4);
    {
      auto gone = std::move(comm);
      gone.all_reduce(data.data(), data.data(), 4, HostStream(recording));
    }
    rank.findings.template throws<dpgather::GraphError>([&] { recording.replay(); }, "the replay",
                                                        {"destroyed"});
    rank.barrier();
  });
  dpgather::destructor_error_handler() = handler;
}

TEST_CASE_TEMPLATE("split makes a communicator a color, in key order, again and again", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    const auto ranks_of = [&](auto& part) {  // world ranks in the part's order
      std::vector<std::int32_t> all(static_cast<std::size_t>(part.size()));
      const std::int32_t mine = rank.rank;
      part.all_gather(&mine, all.data(), 1, stream);
      return all;
    };
    for (const int colors : {1, 2, 3})
      for (const bool backwards : {false, true}) {
        std::vector<std::int32_t> want;
        for (int r = 0; r < rank.size; ++r)
          if (r % colors == rank.rank % colors) want.push_back(r);
        if (backwards) std::reverse(want.begin(), want.end());
        auto part = comm.split(rank.rank % colors, backwards ? -rank.rank : rank.rank);
        rank.findings.equal<std::int32_t>(ranks_of(part), want, concat(colors, " colors"));
        rank.findings.expect(want[static_cast<std::size_t>(part.rank())] == rank.rank,
                             "rank() does not fit");
        // Equal keys: by rank. A split of a split, used while parent and grandparent are, too.
        auto half = part.split(part.rank() < (part.size() + 1) / 2 ? 7 : 3, 0);
        float one = 1, total = 0;
        half.all_reduce(&one, &total, 1, stream);
        rank.findings.expect(total == static_cast<float>(half.size()), "sum over a nested split");
        part.all_reduce(&one, &total, 1, stream);
        rank.findings.expect(total == static_cast<float>(part.size()), "sum over the split");
        comm.all_reduce(&one, &total, 1, stream);
        rank.findings.expect(total == static_cast<float>(rank.size), "sum over all");
      }
    rank.findings.template throws<dpgather::InvalidArgument>(
        [&] { static_cast<void>(comm.split(-1, 0)); }, "a negative color", {"-1"});
  });
}

TEST_CASE_TEMPLATE("a steady state allocates nothing", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    Group group(rank);
    const Blocks gaps("gaps", std::vector<std::int64_t>(static_cast<std::size_t>(rank.size), 8), 3);
    Guarded<float> send(gaps.end);
    const auto step = [&] {
      group.call(comm, stream);
      comm.reduce_scatter_v(send.data(),
                            send.data() + gaps.offsets[static_cast<std::size_t>(rank.rank)],
                            gaps.counts, gaps.offsets, stream);
      comm.all_reduce(group.rows.data(), group.reduced.data(), 8, stream);
    };
    const auto before = support::allocations_of_this_thread();
    step();
    const auto warm = support::allocations_of_this_thread();
    rank.findings.expect(warm > before, "not even the first step allocates: is anything counted?");
    for (int i = 0; i < 10; ++i) step();
    const auto more = support::allocations_of_this_thread() - warm;
    rank.findings.expect(more == 0, concat(more, " allocations in 10 steps"));
  });
}
