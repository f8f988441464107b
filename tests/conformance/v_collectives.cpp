// The collectives with a count a rank: ragged, empty, skewed, with gaps.
#include "conformance/worlds.hpp"

using namespace conformance;

TEST_CASE_TEMPLATE("all-gather-v brings ragged blocks to their offsets and leaves gaps alone",
                   World, CONFORMANCE_WORLDS) {
  const auto seed = support::seed("all-gather-v", 11);
  at_every_size<World>([seed](auto& comm, auto rank) {
    for (const Blocks& blocks : ragged(rank.size, seed))
      for_each_type([&]<class T>(T, std::string_view type) {
        const auto own = static_cast<std::size_t>(rank.rank);
        std::vector<T> want(static_cast<std::size_t>(blocks.end), Guarded<T, World>::untouched()),
            sent;
        for (int r = 0; r < rank.size; ++r)
          for (std::int64_t i = 0; i < blocks.counts[static_cast<std::size_t>(r)]; ++i)
            want[static_cast<std::size_t>(blocks.offsets[static_cast<std::size_t>(r)] + i)] =
                value<T>(r, i);
        Guarded<T, World> send(blocks.counts[own]), recv(blocks.end), both(blocks.end);
        for (std::int64_t i = 0; i < send.size(); ++i)
          sent.push_back(send[i] = both[blocks.offsets[own] + i] = value<T>(rank.rank, i));
        put(rank, send, recv, both);
        comm.all_gather_v(send.data(), recv.data(), blocks.counts, blocks.offsets, rank.stream);
        comm.all_gather_v(both.data() + blocks.offsets[own], both.data(), blocks.counts,
                          blocks.offsets, rank.stream);
        fetch(comm, rank, send, recv, both);
        rank.findings.template equal<T>(recv.span(), want,
                                        concat("out of place, ", type, ", ", blocks.name));
        rank.findings.template equal<T>(both.span(), want,
                                        concat("in place, ", type, ", ", blocks.name));
        rank.findings.template equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(),
                             concat("wrote outside of recv, ", blocks.name));
      });
  });
}

TEST_CASE_TEMPLATE("reduce-scatter-v gives each rank its ragged block of the sum", World,
                   CONFORMANCE_WORLDS) {
  const auto seed = support::seed("reduce-scatter-v", 12);
  at_every_size<World>([seed](auto& comm, auto rank) {
    for (const Blocks& blocks : ragged(rank.size, seed))
      for_each_type([&]<class T>(T, std::string_view type) {
        const auto own = static_cast<std::size_t>(rank.rank);
        const std::int64_t n = blocks.counts[own], first = blocks.offsets[own];
        std::vector<T> want, sent;
        for (std::int64_t i = 0; i < n; ++i) want.push_back(sum<T>(rank.size, first + i));
        // Gaps hold what would be seen in any sum.
        Guarded<T, World> send(blocks.end), recv(n), both(blocks.end);
        for (std::size_t r = 0; r < blocks.counts.size(); ++r)
          for (std::int64_t i = blocks.offsets[r]; i < blocks.offsets[r] + blocks.counts[r]; ++i)
            send[i] = both[i] = value<T>(rank.rank, i);
        sent.assign(send.span().begin(), send.span().end());
        put(rank, send, recv, both);
        comm.reduce_scatter_v(send.data(), recv.data(), blocks.counts, blocks.offsets, rank.stream);
        comm.reduce_scatter_v(both.data(), both.data() + first, blocks.counts, blocks.offsets,
                              rank.stream);
        fetch(comm, rank, send, recv, both);
        rank.findings.template equal<T>(recv.span(), want,
                                        concat("out of place, ", type, ", ", blocks.name));
        rank.findings.template equal<T>(both.span(first, n), want,
                                        concat("in place, ", type, ", ", blocks.name));
        rank.findings.template equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(),
                             concat("wrote outside of recv, ", blocks.name));
      });
  });
}

TEST_CASE_TEMPLATE("a rank without rows passes null pointers where it has nothing", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    // Only the last rank has rows, so the others send and receive nothing of their own.
    std::vector<std::int64_t> counts(static_cast<std::size_t>(rank.size), 0),
        offsets(counts.size(), 0);
    counts.back() = 9;
    const bool has = rank.rank == rank.size - 1;
    Guarded<float, World> rows(9), all(9), partial(9), reduced(9);
    std::vector<float> want, sums;
    for (std::int64_t i = 0; i < 9; ++i) {
      rows[i] = value<float>(rank.rank, i);
      partial[i] = value<float>(rank.rank, i, 4);
      want.push_back(value<float>(rank.size - 1, i));
      sums.push_back(sum<float>(rank.size, i, 4));
    }
    put(rank, rows, all, partial, reduced);
    comm.all_gather_v(has ? rows.data() : nullptr, all.data(), counts, offsets, rank.stream);
    comm.reduce_scatter_v(partial.data(), has ? reduced.data() : static_cast<float*>(nullptr),
                          counts, offsets, rank.stream);
    fetch(comm, rank, all, reduced);
    rank.findings.template equal<float>(all.span(), want, "all-gather-v");
    if (has) rank.findings.template equal<float>(reduced.span(), sums, "reduce-scatter-v");
  });
}
