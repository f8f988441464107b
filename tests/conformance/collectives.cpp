// The collectives with one count for all ranks: results, in-place rules, zero counts, what is
// counted.
#include "conformance/worlds.hpp"

using namespace conformance;
using dpgather::HostStream;

namespace {

constexpr std::int64_t lengths[] = {1, 3, 64, 1000};
constexpr HostStream stream;

}  // namespace

TEST_CASE_TEMPLATE("all-gather brings every rank's block to its place", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (const auto n : lengths) {
        std::vector<T> want;
        for (int r = 0; r < rank.size; ++r)
          for (std::int64_t i = 0; i < n; ++i) want.push_back(value<T>(r, i));
        Guarded<T> send(n), recv(n * rank.size), both(n * rank.size);
        for (std::int64_t i = 0; i < n; ++i)
          send[i] = both[rank.rank * n + i] = value<T>(rank.rank, i);
        const std::vector<T> sent(send.span().begin(), send.span().end());
        comm.all_gather(send.data(), recv.data(), n, stream);
        comm.all_gather(both.data() + rank.rank * n, both.data(), n, stream);
        rank.findings.equal<T>(recv.span(), want, concat("out of place, ", type, " x ", n));
        rank.findings.equal<T>(both.span(), want, concat("in place, ", type, " x ", n));
        rank.findings.equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(), "wrote outside of recv");
      }
    });
  });
}

TEST_CASE_TEMPLATE("all-reduce gives every rank the sum", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (const auto n : lengths) {
        std::vector<T> want, sent;
        Guarded<T> send(n), recv(n), both(n);
        for (std::int64_t i = 0; i < n; ++i) {
          want.push_back(sum<T>(rank.size, i));
          sent.push_back(send[i] = both[i] = value<T>(rank.rank, i));
        }
        comm.all_reduce(send.data(), recv.data(), n, stream);
        comm.all_reduce(both.data(), both.data(), n, stream);
        rank.findings.equal<T>(recv.span(), want, concat("out of place, ", type, " x ", n));
        rank.findings.equal<T>(both.span(), want, concat("in place, ", type, " x ", n));
        rank.findings.equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(), "wrote outside of recv");
      }
    });
  });
}

TEST_CASE_TEMPLATE("reduce-scatter gives each rank its block of the sum", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (const auto n : lengths) {
        std::vector<T> want, sent;
        Guarded<T> send(n * rank.size), recv(n), both(n * rank.size);
        for (std::int64_t i = 0; i < n * rank.size; ++i)
          sent.push_back(send[i] = both[i] = value<T>(rank.rank, i));
        for (std::int64_t i = 0; i < n; ++i) want.push_back(sum<T>(rank.size, rank.rank * n + i));
        comm.reduce_scatter(send.data(), recv.data(), n, stream);
        comm.reduce_scatter(both.data(), both.data() + rank.rank * n, n, stream);
        rank.findings.equal<T>(recv.span(), want, concat("out of place, ", type, " x ", n));
        rank.findings.equal<T>(both.span().subspan(static_cast<std::size_t>(rank.rank * n),
                                                   static_cast<std::size_t>(n)),
                               want, concat("in place, ", type, " x ", n));
        rank.findings.equal<T>(send.span(), sent, "send");
        rank.findings.expect(recv.guards_hold() && both.guards_hold(), "wrote outside of recv");
      }
    });
  });
}

TEST_CASE_TEMPLATE("broadcast gives every rank what any root has", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    for_each_type([&]<class T>(T, std::string_view type) {
      for (int root = 0; root < rank.size; ++root) {
        std::vector<T> want;
        Guarded<T> data(77);
        for (std::int64_t i = 0; i < 77; ++i) {
          want.push_back(value<T>(root, i));
          if (rank.rank == root) data[i] = value<T>(root, i);
        }
        comm.broadcast(data.data(), 77, root, stream);
        rank.findings.equal<T>(data.span(), want, concat(type, " from ", root));
        rank.findings.expect(data.guards_hold(), "wrote outside of the buffer");
      }
    });
  });
}

TEST_CASE_TEMPLATE("large buffers come out whole", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    constexpr std::int64_t n = 300007;
    std::vector<float> send(n), recv(n), want(n);
    for (std::int64_t i = 0; i < n; ++i) {
      send[static_cast<std::size_t>(i)] = value<float>(rank.rank, i);
      want[static_cast<std::size_t>(i)] = sum<float>(rank.size, i);
    }
    comm.all_reduce(send.data(), recv.data(), n, stream);
    rank.findings.equal<float>(recv, want, "all-reduce");
  });
}

TEST_CASE_TEMPLATE("zero counts are legal with null pointers and move nothing", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    for_each_type([&]<class T>(T, std::string_view) {
      T* const none = nullptr;
      const T* const nothing = nullptr;
      const std::vector<std::int64_t> zeros(static_cast<std::size_t>(rank.size), 0);
      comm.all_gather(nothing, none, 0, stream);
      comm.all_reduce(nothing, none, 0, stream);
      comm.reduce_scatter(nothing, none, 0, stream);
      comm.broadcast(none, 0, rank.size - 1, stream);
      comm.all_gather_v(nothing, none, zeros, zeros, stream);
      comm.reduce_scatter_v(nothing, none, zeros, zeros, stream);
    });
    rank.findings.expect(comm.elements_moved() == 0,
                         concat(comm.elements_moved(), " elements were counted"));
  });
}

TEST_CASE_TEMPLATE("elements are counted by the formula of each call", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    const std::int64_t n =
        24 * rank.size;  // a multiple: each rank's share of an all-reduce is the same
    std::vector<float> a(static_cast<std::size_t>(n * rank.size)), b(a.size());
    std::int64_t want = 0;
    const auto counted = [&](std::int64_t more, std::string_view what) {
      want += more;
      rank.findings.expect(
          comm.elements_moved() == static_cast<std::uint64_t>(want),
          concat(what, ": ", comm.elements_moved(), " counted in all, expected ", want));
    };
    comm.all_gather(a.data(), b.data(), n, stream);
    counted(rank.size * n, "all-gather");
    comm.all_reduce(a.data(), b.data(), n, stream);
    counted(2 * n, "all-reduce");
    comm.reduce_scatter(a.data(), b.data(), n, stream);
    counted(rank.size * n, "reduce-scatter");
    comm.broadcast(a.data(), n, 0, stream);
    counted(n, "broadcast");
    std::vector<std::int64_t> counts, offsets;
    for (int r = 0; r < rank.size; ++r) {
      counts.push_back(r * 2);
      offsets.push_back(r * r);
    }
    comm.all_gather_v(a.data(), b.data(), counts, offsets, stream);
    counted(rank.size * (rank.size - 1), "all-gather-v");
    comm.reduce_scatter_v(a.data(), b.data(), counts, offsets, stream);
    counted(rank.size * rank.rank * 2, "reduce-scatter-v");
  });
}
