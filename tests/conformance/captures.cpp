// Captured calls and their replays.
#include <optional>

#include "conformance/captured.hpp"
#include "conformance/group_of_calls.hpp"
#include "conformance/worlds.hpp"

using namespace conformance;

TEST_CASE_TEMPLATE("a captured call runs at replay, with the counts it was recorded with", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    Guarded<float, World> rows(4), all(4 * rank.size), ragged(4 * rank.size), reduced(4),
        in_place(4 * rank.size);
    const std::int64_t own = 4 * rank.rank;
    std::optional<std::vector<std::int64_t>> counts(std::in_place,
                                                    static_cast<std::size_t>(rank.size), 4);
    std::optional<std::vector<std::int64_t>> offsets(std::in_place);
    for (int r = 0; r < rank.size; ++r) offsets->push_back(4 * r);
    const auto calls = [&](auto stream) {
      comm.all_gather(rows.data(), all.data(), 4, stream);
      comm.all_gather_v(rows.data(), ragged.data(), *counts, *offsets, stream);
      comm.all_reduce(rows.data(), reduced.data(), 4, stream);
      comm.reduce_scatter_v(in_place.data(), in_place.data() + own, *counts, *offsets, stream);
    };
    warm_up<World>(comm, rank, calls);
    put(rank, rows, all, ragged, reduced, in_place);
    const auto before = comm.elements_moved();
    auto graph = capture<World>(rank, calls);
    if (const auto* const recording = recording_of<World>(graph); recording != nullptr) {
      rank.findings.expect(recording->size() == 4,
                           concat(recording->size(), " operations recorded"));
      rank.findings.expect(recording->operation(1) == "all_gather_v",
                           "the second operation has another name");
    }
    fetch(comm, rank, all);
    rank.findings.expect(all[0] == all.untouched() && comm.elements_moved() == before,
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
        want_block.push_back(sum<float>(rank.size, own + i, salt));
      }
      put(rank, rows, in_place);
      launch<World>(graph, rank);
      fetch(moved_comm, rank, all, ragged, reduced, in_place);
      rank.findings.template equal<float>(all.span(), want_all,
                                          concat("all-gather, replay ", salt));
      rank.findings.template equal<float>(ragged.span(), want_all,
                                          concat("all-gather-v, replay ", salt));
      rank.findings.template equal<float>(reduced.span(), want_sum,
                                          concat("all-reduce, replay ", salt));
      rank.findings.template equal<float>(in_place.span(own, 4), want_block,
                                          concat("reduce-scatter-v, replay ", salt));
    }
    // 4n each, all-reduce 2 * 4 (whole shares at these sizes only in the sum over ranks)
    rank.findings.expect(moved_comm.elements_moved() > before, "replays were not counted");
    rank.barrier();
    { const auto gone = std::move(graph); }  // before its communicator
    rank.barrier();
  });
}

TEST_CASE_TEMPLATE("replays without a wait between them see each other's results", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    constexpr std::int64_t n = 40;
    Guarded<std::int64_t, World> rows(n), all(n * rank.size);
    const auto calls = [&](auto stream) {
      comm.all_gather(rows.data(), all.data(), n, stream);
      comm.reduce_scatter(all.data(), rows.data(), n, stream);  // times the number of ranks
    };
    warm_up<World>(comm, rank, calls);
    {
      const auto graph = capture<World>(rank, calls);
      std::vector<std::int64_t> want;
      for (std::int64_t i = 0; i < n; ++i) {
        rows[i] = rank.rank + i;
        std::int64_t grown = rank.rank + i;
        for (int round = 0; round < 6; ++round) grown *= rank.size;
        want.push_back(grown);
      }
      put(rank, rows);
      for (int round = 0; round < 3; ++round) {
        launch<World>(graph, rank);
        calls(rank.stream);
      }
      fetch(comm, rank, rows);
      rank.findings.template equal<std::int64_t>(rows.span(), want, "there and back");
      rank.barrier();
    }
    rank.barrier();
  });
}

TEST_CASE_TEMPLATE("a buffer may be written again in stream order once a replay has it", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    constexpr std::int64_t n = 48;
    const Guarded<float, World> send(n), rows = send.like(), junk = send.like(), all(n * rank.size),
                                         reduced(n);
    std::vector<float> gather, reduce;
    for (std::int64_t i = 0; i < n; ++i) rows[i] = value<float>(rank.rank, i);
    for (int r = 0; r < rank.size; ++r)
      for (std::int64_t i = 0; i < n; ++i) gather.push_back(value<float>(r, i));
    for (std::int64_t i = 0; i < n; ++i) reduce.push_back(sum<float>(rank.size, i));
    const auto gathers = [&](auto stream) { comm.all_gather(send.data(), all.data(), n, stream); };
    const auto reduces = [&](auto stream) {
      comm.all_reduce(send.data(), reduced.data(), n, stream);
    };
    warm_up<World>(comm, rank, gathers);
    warm_up<World>(comm, rank, reduces);
    {
      const auto gather_graph = capture<World>(rank, gathers);
      const auto reduce_graph = capture<World>(rank, reduces);
      for (int round = 0; round < 4; ++round) {
        for (const auto* const graph : {&gather_graph, &reduce_graph}) {
          put_into(rank, send, rows);
          launch<World>(*graph, rank);
          put_into(rank, send, junk);
        }
        fetch(comm, rank, all, reduced);
        rank.findings.template equal<float>(all.span(), gather, concat("all-gather ", round));
        rank.findings.template equal<float>(reduced.span(), reduce, concat("all-reduce ", round));
      }
      rank.barrier();
    }
    rank.barrier();
  });
}

TEST_CASE_TEMPLATE("a captured group is one operation, and mixes with eager calls", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    Group<World> group(rank), eager(rank);
    const auto calls = [&](auto stream) { group.call(comm, stream); };
    warm_up<World>(comm, rank, calls);
    const auto graph = capture<World>(rank, calls);
    if (const auto* const recording = recording_of<World>(graph); recording != nullptr)
      rank.findings.expect(recording->size() == 1,
                           concat(recording->size(), " operations recorded"));
    for (int salt = 0; salt < 4; ++salt) {
      group.fill(salt);
      eager.fill(salt + 9);
      launch<World>(graph, rank);
      eager.call(comm, rank.stream);
      group.verify(comm, concat("replay ", salt));
      eager.verify(comm, concat("eager ", salt));
    }
    rank.findings.template throws<dpgather::InvalidArgument>(
        [&] {
          static_cast<void>(World::Graphs::capture(rank.stream, [&](auto stream) {
            comm.group([&] {
              comm.all_reduce(group.rows.data(), group.reduced.data(), 8, stream);
              comm.all_reduce(group.rows.data(), eager.reduced.data(), 8, rank.other);
            });
          }));
        },
        "captured and eager calls in one group", {"group"});
    group.fill(5);
    launch<World>(graph, rank);
    group.verify(comm, "replay after it");
    rank.barrier();  // recordings go first, on every rank
  });
}

TEST_CASE_TEMPLATE("a replay after its communicator is gone is refused", World,
                   CONFORMANCE_WORLDS) {
  const QuietDestructors expected;
  at_every_size<World>([](auto& comm, auto rank) {
    Guarded<float, World> data(4);
    rank.findings.may_leave("comm");  // NCCL's own: it would wait for the graph
    std::optional<typename World::Comm> gone(std::move(comm));
    const auto call = [&](auto stream) { gone->all_reduce(data.data(), data.data(), 4, stream); };
    warm_up<World>(*gone, rank, call);
    const auto graph = capture<World>(rank, call);
    gone.reset();
    rank.findings.template throws<dpgather::GraphError>([&] { launch<World>(graph, rank); },
                                                        "the replay", {"destroyed"});
    rank.barrier();
  });
}
