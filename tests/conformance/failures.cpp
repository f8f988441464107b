// What must be an error, on which ranks, and what it says.
#include "conformance/worlds.hpp"

using namespace conformance;
using dpgather::HostStream;
using dpgather::InvalidArgument;
using dpgather::MismatchError;
using dpgather::PeerError;
using dpgather::TimeoutError;

namespace {

constexpr HostStream stream;

/// MPI cannot cancel a collective, so where a call fails half way its buffers stay for good.
float* lasting_buffer() {
  static std::vector<float> buffer(4096, 1.0f);
  thread_local std::vector<float> own(4096, 1.0f);
#ifdef CONFORMANCE_MPI
  static_cast<void>(own);
  return buffer.data();
#else
  return own.data();
#endif
}

using Counts = std::vector<std::int64_t>;

/// rank 1 (the "odd" one) calls something else than the others.
template <class Comm>
struct Mismatch {
  const char* what;
  void (*usual)(Comm&, float*);
  void (*odd)(Comm&, float*);
  const char* usual_text;
  const char* odd_text;
};

template <class Comm>
Counts same_counts(Comm& comm, std::int64_t count) {
  return Counts(static_cast<std::size_t>(comm.size()), count);
}
template <class Comm>
Counts offsets_of(Comm& comm, std::int64_t distance) {
  Counts offsets;
  for (int r = 0; r < comm.size(); ++r) offsets.push_back(r * distance);
  return offsets;
}

template <class Comm>
std::vector<Mismatch<Comm>> mismatches() {
  return {
      {"operation", [](Comm& c, float* x) { c.all_reduce(x, x, 8, stream); },
       [](Comm& c, float* x) { c.all_gather(x, x + 64, 8, stream); }, "all_reduce of 8 float",
       "rank 1: all_gather of 8 float"},
      {"count", [](Comm& c, float* x) { c.all_gather(x, x + 64, 8, stream); },
       [](Comm& c, float* x) { c.all_gather(x, x + 64, 9, stream); }, "all_gather of 8 float",
       "rank 1: all_gather of 9 float"},
      {"zero count", [](Comm& c, float* x) { c.reduce_scatter(x, x + 512, 8, stream); },
       [](Comm& c, float* x) { c.reduce_scatter(x, x + 512, 0, stream); },
       "reduce_scatter of 8 float", "rank 1: reduce_scatter of 0 float"},
      {"type", [](Comm& c, float* x) { c.all_reduce(x, x, 8, stream); },
       [](Comm& c, float* x) {
         alignas(8) static thread_local std::int32_t y[8];
         static_cast<void>(x);
         c.all_reduce(y, y, 8, stream);
       },
       "all_reduce of 8 float", "rank 1: all_reduce of 8 int32"},
      {"16-bit type",
       [](Comm& c, float* x) {
         c.all_reduce(reinterpret_cast<dpgather::bf16*>(x), reinterpret_cast<dpgather::bf16*>(x), 8,
                      stream);
       },
       [](Comm& c, float* x) {
         c.all_reduce(reinterpret_cast<dpgather::fp16*>(x), reinterpret_cast<dpgather::fp16*>(x), 8,
                      stream);
       },
       "all_reduce of 8 bf16", "rank 1: all_reduce of 8 fp16"},
      {"root", [](Comm& c, float* x) { c.broadcast(x, 8, 0, stream); },
       [](Comm& c, float* x) { c.broadcast(x, 8, 1, stream); }, "broadcast of 8 float from root 0",
       "rank 1: broadcast of 8 float from root 1"},
      {"v-counts of one sum",
       [](Comm& c, float* x) {
         auto n = same_counts(c, 4);
         c.all_gather_v(x, x + 64, n, offsets_of(c, 16), stream);
       },
       [](Comm& c, float* x) {
         auto n = same_counts(c, 4);
         ++n[0], --n[1];
         c.all_gather_v(x, x + 64, n, offsets_of(c, 16), stream);
       },
       "all_gather_v of ", "rank 1: all_gather_v of "},
      {"v-counts of another sum",
       [](Comm& c, float* x) {
         c.reduce_scatter_v(x + 64, x, same_counts(c, 4), offsets_of(c, 16), stream);
       },
       [](Comm& c, float* x) {
         c.reduce_scatter_v(x + 64, x, same_counts(c, 5), offsets_of(c, 16), stream);
       },
       "reduce_scatter_v of ", "rank 1: reduce_scatter_v of "},
      {"second call of a group",
       [](Comm& c, float* x) {
         c.group([&] { c.all_reduce(x, x, 8, stream), c.all_reduce(x + 8, x + 8, 8, stream); });
       },
       [](Comm& c, float* x) {
         c.group([&] { c.all_reduce(x, x, 8, stream), c.all_reduce(x + 8, x + 8, 7, stream); });
       },
       "all_reduce of 8 float", "rank 1: all_reduce of 7 float"},
      {"length of a group",
       [](Comm& c, float* x) {
         c.group([&] { c.all_reduce(x, x, 8, stream), c.all_reduce(x + 8, x + 8, 8, stream); });
       },
       [](Comm& c, float* x) { c.all_reduce(x, x, 8, stream); }, "all_reduce of 8 float",
       "rank 1: none"},
      {"split", [](Comm& c, float* x) { c.all_reduce(x, x, 8, stream); },
       [](Comm& c, float*) { static_cast<void>(c.split(0, 0)); }, "all_reduce of 8 float",
       "rank 1: split"},
  };
}

}  // namespace

TEST_CASE_TEMPLATE("calls that differ are an error on every rank that lists them all", World,
                   CONFORMANCE_WORLDS) {
  if (!World::compares_calls) return;
  using Comm = typename World::Comm;
  for (const auto& mismatch : mismatches<Comm>()) {
    INFO(mismatch.what);
    at_every_size<World>(
        [&](Comm& comm, Rank rank) {
          float* const x = lasting_buffer();
          const float before = x[3000];
          const auto call = [&] { (rank.rank == 1 ? mismatch.odd : mismatch.usual)(comm, x); };
          std::vector<std::string> parts{mismatch.odd_text};
          const std::string text = rank.findings.template throws<MismatchError>(
              call, mismatch.what, {mismatch.odd_text});
          for (int r = 0; r < rank.size; ++r)
            if (r != 1)
              rank.findings.expect(
                  text.find(concat("rank ", r, ": ", mismatch.usual_text)) != std::string::npos,
                  concat("\"", text, "\" does not list rank ", r));
          rank.findings.template throws<PeerError>([&] { comm.all_reduce(x, x, 1, stream); },
                                                   "the call after it",
                                                   {"ranks called different collectives"});
          rank.findings.template throws<PeerError>([&] { comm.check(); }, "check after it");
          rank.findings.expect(x[3000] == before, "data was moved");
          rank.barrier();
        },
        2);
  }
}

TEST_CASE_TEMPLATE("a rank that throws frees the ranks that wait for it", World,
                   CONFORMANCE_WORLDS) {
  // Each rank in turn, waited for in each kind of call.
  for (int failing = 0; failing < World::sizes().back(); ++failing)
    at_every_size<World>(
        [failing](auto& comm, Rank rank) {
          if (failing >= rank.size) return;
          float one = 1;
          comm.all_reduce(&one, lasting_buffer(), 1, stream);
          comm.set_step(42);
          rank.barrier();  // an abort does not wait for the call before to end everywhere
          if (rank.rank == failing) throw Planned("nobody catches this");
          float* const x = lasting_buffer();
          const std::string text = rank.findings.template throws<PeerError>(
              [&] { comm.all_gather(x, x + 64, 8, stream); }, "the wait",
              {concat("rank ", failing, " ended with an exception"), "step 42",
               concat("rank ", rank.rank, ","), "all_gather"});
          for (int again = 0; again < 2; ++again)
            rank.findings.template throws<PeerError>([&] { comm.broadcast(x, 8, 0, stream); },
                                                     "a later call", {"ended with an exception"});
          rank.findings.template throws<PeerError>([&] { static_cast<void>(comm.split(0, 0)); },
                                                   "a later split");
        },
        2);
}

TEST_CASE_TEMPLATE("abort frees waiting ranks with its reason, and is final", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    float* const x = lasting_buffer();
    const bool aborts = rank.rank == rank.size - 1;
    if (aborts) {
      comm.abort("out of page tables");
      comm.abort("a second reason");
    }
    const auto says = {std::string_view("communicator failed"),
                       std::string_view("out of page tables")};
    rank.findings.template throws<PeerError>([&] { comm.reduce_scatter(x, x + 512, 8, stream); },
                                             "the wait", says);
    rank.findings.template throws<PeerError>([&] { comm.check(); }, "check", says);
    rank.findings.template throws<PeerError>([&] { comm.all_reduce(x, x, 0, stream); },
                                             "a call of nothing", says);
    rank.findings.template throws<PeerError>(
        [&] { comm.group([&] { comm.all_reduce(x, x, 8, stream); }); }, "a group", says);
    dpgather::Recording recording;
    try {  // refused when recorded or when replayed
      comm.all_reduce(x, x, 8, HostStream(recording));
      recording.replay();
      rank.findings.expect(false, "a replay after the abort ran");
    } catch (const PeerError&) {
    }
    rank.barrier();
  });
}

TEST_CASE_TEMPLATE("an abort of a split leaves its parent alone", World, CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    auto part = comm.split(0, rank.rank);
    if (rank.rank == 0) part.abort("only the part");
    float one = 1;
    float* const x = lasting_buffer();
    rank.findings.template throws<PeerError>([&] { part.all_reduce(x, x, 1, stream); }, "the part",
                                             {"only the part"});
    float total = 0;
    comm.all_reduce(&one, &total, 1, stream);
    rank.findings.expect(total == static_cast<float>(rank.size), "sum over all after it");
  });
}

TEST_CASE_TEMPLATE("a rank that leaves early is named to those that need it", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>(
      [](auto& comm, Rank rank) {
        float one = 1, total = 0;
        // It took part in these, so they must end well on all ranks however early it is gone.
        for (int i = 0; i < 3; ++i) comm.all_reduce(&one, &total, 1, stream);
        rank.findings.expect(total == static_cast<float>(rank.size), "sum before it left");
        if (rank.rank == 1) return;
        float* const x = lasting_buffer();
        rank.findings.template throws<PeerError>([&] { comm.all_reduce(x, x, 8, stream); },
                                                 "the wait", {"rank 1 left"});
        rank.findings.template throws<PeerError>([&] { comm.check(); }, "check", {"rank 1 left"});
      },
      2);
}

TEST_CASE_TEMPLATE("a peer that never comes is an error past the deadline", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>(
      [](auto& comm, Rank rank) {
        float* const x = lasting_buffer();
        if (rank.rank != 0) {
          const auto start = std::chrono::steady_clock::now();
          try {
            comm.all_reduce(x, x, 8, stream);
            rank.findings.expect(false, "no error came");
          } catch (const TimeoutError& error) {
            rank.findings.expect(error.detail().find("300 ms") != std::string::npos, error.what());
          } catch (const PeerError& error) {  // another rank's deadline was a bit earlier
            rank.findings.expect(error.detail().find("300 ms") != std::string::npos, error.what());
          }
          const auto waited = std::chrono::steady_clock::now() - start;
          rank.findings.expect(
              waited > std::chrono::milliseconds(150) && waited < std::chrono::seconds(10),
              concat("waited ", std::chrono::duration<double>(waited).count(), " s"));
        }
        rank.barrier();
        rank.findings.template throws<PeerError>([&] { comm.all_reduce(x, x, 8, stream); },
                                                 "the late one", {"no answer within 300 ms"});
        rank.barrier();
      },
      2, std::chrono::milliseconds(300));
}

TEST_CASE_TEMPLATE("a wrong argument is an error before anything changes", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, Rank rank) {
    const int n = rank.size;
    std::vector<float> a(64), b(static_cast<std::size_t>(64 * n), 5.0f);
    const float* const null = nullptr;
    const auto refuses = [&](const auto& f, std::initializer_list<std::string_view> parts) {
      rank.findings.template throws<InvalidArgument>(f, "a wrong call", parts);
    };
    refuses([&] { comm.all_gather(a.data(), b.data(), -3, stream); }, {"all_gather", "-3"});
    refuses([&] { comm.all_reduce(null, b.data(), 4, stream); }, {"all_reduce", "null"});
    refuses([&] { comm.reduce_scatter(b.data(), static_cast<float*>(nullptr), 4, stream); },
            {"reduce_scatter", "null"});
    refuses([&] { comm.broadcast(a.data(), 4, n, stream); }, {"broadcast", concat(n)});
    refuses([&] { comm.broadcast(a.data(), 4, -1, stream); }, {"root", "-1"});
    refuses([&] { comm.all_reduce(b.data(), b.data() + 1, 4, stream); }, {"overlap"});
    const Counts fours(static_cast<std::size_t>(n), 4);
    Counts offsets;
    for (int r = 0; r < n; ++r) offsets.push_back(4 * r);
    Counts negative = fours;
    negative.back() = -7;
    refuses([&] { comm.all_gather_v(a.data(), b.data(), negative, offsets, stream); },
            {"all_gather_v", "-7"});
    refuses([&] { comm.reduce_scatter_v(b.data(), a.data(), fours, Counts{}, stream); },
            {"reduce_scatter_v", "0 offsets"});
    if (n > 1) {
      Counts shifted = offsets;
      shifted[1] -= 1;
      refuses([&] { comm.all_gather_v(a.data(), b.data(), fours, shifted, stream); },
              {"overlap", "3"});
    }
    rank.findings.expect(std::all_of(b.begin(), b.end(), [](float x) { return x == 5.0f; }),
                         "a buffer was changed");
    float one = 1, total = 0;  // and all goes on
    comm.all_reduce(&one, &total, 1, stream);
    rank.findings.expect(total == static_cast<float>(n), "the call after them");
  });
}
