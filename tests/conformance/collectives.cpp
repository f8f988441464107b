// The collectives with one count for all ranks: results, in-place rules, zero counts, what is
// counted.
#include "conformance/worlds.hpp"

using namespace conformance;

namespace {

constexpr std::int64_t lengths[] = {1, 3, 64, 1000};

}  // namespace

TEST_CASE_TEMPLATE("all-gather brings every rank's block to its place", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (const auto n : lengths) {
        std::vector<T> want, sent;
        for (int r = 0; r < rank.size; ++r)
          for (std::int64_t i = 0; i < n; ++i) want.push_back(value<T>(r, i));
        Guarded<T, World> send(n), recv(n * rank.size), both(n * rank.size);
        for (std::int64_t i = 0; i < n; ++i)
          sent.push_back(send[i] = both[rank.rank * n + i] = value<T>(rank.rank, i));
        put(rank, send, recv, both);
        comm.all_gather(send.data(), recv.data(), n, rank.stream);
        comm.all_gather(both.data() + rank.rank * n, both.data(), n, rank.stream);
        fetch(comm, rank, send, recv, both);
        rank.findings.template equal<T>(recv.span(), want,
                                        concat("out of place, ", type, " x ", n));
        rank.findings.template equal<T>(both.span(), want, concat("in place, ", type, " x ", n));
        rank.findings.template equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(), "wrote outside of recv");
      }
    });
  });
}

TEST_CASE_TEMPLATE("all-reduce gives every rank the sum", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (const auto n : lengths) {
        std::vector<T> want, sent;
        Guarded<T, World> send(n), recv(n), both(n);
        for (std::int64_t i = 0; i < n; ++i) {
          want.push_back(sum<T>(rank.size, i));
          sent.push_back(send[i] = both[i] = value<T>(rank.rank, i));
        }
        put(rank, send, recv, both);
        comm.all_reduce(send.data(), recv.data(), n, rank.stream);
        comm.all_reduce(both.data(), both.data(), n, rank.stream);
        fetch(comm, rank, send, recv, both);
        rank.findings.template equal<T>(recv.span(), want,
                                        concat("out of place, ", type, " x ", n));
        rank.findings.template equal<T>(both.span(), want, concat("in place, ", type, " x ", n));
        rank.findings.template equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(), "wrote outside of recv");
      }
    });
  });
}

TEST_CASE_TEMPLATE("reduce-scatter gives each rank its block of the sum", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (const auto n : lengths) {
        std::vector<T> want, sent;
        Guarded<T, World> send(n * rank.size), recv(n), both(n * rank.size);
        for (std::int64_t i = 0; i < n * rank.size; ++i)
          sent.push_back(send[i] = both[i] = value<T>(rank.rank, i));
        for (std::int64_t i = 0; i < n; ++i) want.push_back(sum<T>(rank.size, rank.rank * n + i));
        put(rank, send, recv, both);
        comm.reduce_scatter(send.data(), recv.data(), n, rank.stream);
        comm.reduce_scatter(both.data(), both.data() + rank.rank * n, n, rank.stream);
        fetch(comm, rank, send, recv, both);
        rank.findings.template equal<T>(recv.span(), want,
                                        concat("out of place, ", type, " x ", n));
        rank.findings.template equal<T>(both.span(rank.rank * n, n), want,
                                        concat("in place, ", type, " x ", n));
        rank.findings.template equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(), "wrote outside of recv");
      }
    });
  });
}

TEST_CASE_TEMPLATE("broadcast gives every rank what any root has", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (int root = 0; root < rank.size; ++root) {
        std::vector<T> want;
        Guarded<T, World> data(77);
        for (std::int64_t i = 0; i < 77; ++i) {
          want.push_back(value<T>(root, i));
          if (rank.rank == root) data[i] = value<T>(root, i);
        }
        put(rank, data);
        comm.broadcast(data.data(), 77, root, rank.stream);
        fetch(comm, rank, data);
        rank.findings.template equal<T>(data.span(), want, concat(type, " from ", root));
        rank.findings.expect(data.guards_hold(), "wrote outside of the buffer");
      }
    });
  });
}

TEST_CASE_TEMPLATE("large buffers come out whole", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    constexpr std::int64_t n = 300007;
    Guarded<float, World> send(n), recv(n);
    std::vector<float> want;
    for (std::int64_t i = 0; i < n; ++i) {
      send[i] = value<float>(rank.rank, i);
      want.push_back(sum<float>(rank.size, i));
    }
    put(rank, send);
    comm.all_reduce(send.data(), recv.data(), n, rank.stream);
    fetch(comm, rank, recv);
    rank.findings.template equal<float>(recv.span(), want, "all-reduce");
  });
}

TEST_CASE_TEMPLATE("calls without a wait between them see each other's results", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    constexpr std::int64_t n = 96;
    Guarded<std::int64_t, World> rows(n), all(n * rank.size), back(n);
    std::vector<std::int64_t> want;
    for (std::int64_t i = 0; i < n; ++i) {
      rows[i] = rank.rank + i;
      std::int64_t grown = rank.rank + i;  // every round multiplies it by the number of ranks
      for (int round = 0; round < 5; ++round) grown *= rank.size;
      want.push_back(grown);
    }
    put(rank, rows, all, back);
    for (int round = 0; round < 5; ++round) {
      const auto& from = round % 2 == 0 ? rows : back;
      const auto& to = round % 2 == 0 ? back : rows;
      comm.all_gather(from.data(), all.data(), n, rank.stream);
      comm.reduce_scatter(all.data(), to.data(), n, rank.stream);
    }
    fetch(comm, rank, back);
    rank.findings.template equal<std::int64_t>(back.span(), want, "there and back");
  });
}

TEST_CASE_TEMPLATE("a buffer may be written again in stream order once a call has it", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    constexpr std::int64_t n = 48;
    const Guarded<float, World> send(n * rank.size), rows = send.like(), junk = send.like(),
                                                     all(n * rank.size), reduced(n), scattered(n),
                                                     ragged(n * rank.size), part(n);
    std::vector<std::int64_t> counts, offsets;
    for (int r = 0; r < rank.size; ++r) {
      counts.push_back(n - r);
      offsets.push_back(n * r);
    }
    const std::int64_t own = n - rank.rank;
    std::vector<float> gather, reduce, scatter, v, part_of_sum;
    for (std::int64_t i = 0; i < rows.size(); ++i) rows[i] = value<float>(rank.rank, i);
    for (int r = 0; r < rank.size; ++r)
      for (std::int64_t i = 0; i < n; ++i) {
        gather.push_back(value<float>(r, i));
        v.push_back(i < n - r ? gather.back() : ragged.untouched());
      }
    for (std::int64_t i = 0; i < n; ++i) {
      reduce.push_back(sum<float>(rank.size, i));
      scatter.push_back(sum<float>(rank.size, n * rank.rank + i));
    }
    part_of_sum.assign(scatter.begin(), scatter.begin() + own);
    put(rank, ragged);
    const auto around = [&](const auto& call) {
      put_into(rank, send, rows);
      call();
      put_into(rank, send, junk);
    };
    for (int root = 0; root < rank.size; ++root) {
      around([&] { comm.all_gather(send.data(), all.data(), n, rank.stream); });
      around([&] { comm.all_reduce(send.data(), reduced.data(), n, rank.stream); });
      around([&] { comm.reduce_scatter(send.data(), scattered.data(), n, rank.stream); });
      around([&] { comm.all_gather_v(send.data(), ragged.data(), counts, offsets, rank.stream); });
      around(
          [&] { comm.reduce_scatter_v(send.data(), part.data(), counts, offsets, rank.stream); });
      // In place, the rank's own result is all that it may write over.
      put_into(rank, send, rows);
      comm.broadcast(send.data(), n, root, rank.stream);
      if (rank.rank == root) put_into(rank, send, junk);
      fetch(comm, rank, all, reduced, scattered, ragged, part, send);
      rank.findings.template equal<float>(all.span(), gather, "all-gather");
      rank.findings.template equal<float>(reduced.span(), reduce, "all-reduce");
      rank.findings.template equal<float>(scattered.span(), scatter, "reduce-scatter");
      rank.findings.template equal<float>(ragged.span(), v, "all-gather-v");
      rank.findings.template equal<float>(part.span(0, own), part_of_sum, "reduce-scatter-v");
      for (std::int64_t i = 0; i < n && rank.rank != root; ++i)
        rank.findings.expect(send[i] == value<float>(root, i), concat("broadcast from ", root));
    }
  });
}

TEST_CASE_TEMPLATE("zero counts are legal with null pointers and move nothing", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    for_each_type([&]<class T>(T, std::string_view) {
      T* const none = nullptr;
      const T* const nothing = nullptr;
      const std::vector<std::int64_t> zeros(static_cast<std::size_t>(rank.size), 0);
      comm.all_gather(nothing, none, 0, rank.stream);
      comm.all_reduce(nothing, none, 0, rank.stream);
      comm.reduce_scatter(nothing, none, 0, rank.stream);
      comm.broadcast(none, 0, rank.size - 1, rank.stream);
      comm.all_gather_v(nothing, none, zeros, zeros, rank.stream);
      comm.reduce_scatter_v(nothing, none, zeros, zeros, rank.stream);
    });
    finish(comm, rank);
    rank.findings.expect(comm.elements_moved() == 0,
                         concat(comm.elements_moved(), " elements were counted"));
  });
}

TEST_CASE_TEMPLATE("elements are counted by the formula of each call", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    const std::int64_t n =
        24 * rank.size;  // a multiple: each rank's share of an all-reduce is the same
    Guarded<float, World> a(n * rank.size), b(n * rank.size);
    std::int64_t want = 0;
    const auto counted = [&](std::int64_t more, std::string_view what) {
      want += more;
      rank.findings.expect(
          comm.elements_moved() == static_cast<std::uint64_t>(want),
          concat(what, ": ", comm.elements_moved(), " counted in all, expected ", want));
    };
    comm.all_gather(a.data(), b.data(), n, rank.stream);
    counted(rank.size * n, "all-gather");
    comm.all_reduce(a.data(), b.data(), n, rank.stream);
    counted(2 * n, "all-reduce");
    comm.reduce_scatter(a.data(), b.data(), n, rank.stream);
    counted(rank.size * n, "reduce-scatter");
    comm.broadcast(a.data(), n, 0, rank.stream);
    counted(n, "broadcast");
    std::vector<std::int64_t> counts, offsets;
    for (int r = 0; r < rank.size; ++r) {
      counts.push_back(r * 2);
      offsets.push_back(r * r);
    }
    comm.all_gather_v(a.data(), b.data(), counts, offsets, rank.stream);
    counted(rank.size * (rank.size - 1), "all-gather-v");
    comm.reduce_scatter_v(a.data(), b.data(), counts, offsets, rank.stream);
    counted(rank.size * rank.rank * 2, "reduce-scatter-v");
    finish(comm, rank);
  });
}
