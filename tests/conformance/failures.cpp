// What must be an error, on which ranks, and what it says.
#include <chrono>
#include <memory>

#include "conformance/captured.hpp"
#include "conformance/worlds.hpp"

using namespace conformance;
using dpgather::InvalidArgument;
using dpgather::MismatchError;
using dpgather::PeerError;
using dpgather::TimeoutError;

namespace {

/// 4096 ones for calls that may fail half way.
template <class World>
class Scratch {
 public:
  using Stream = typename World::Comm::memory_type::stream_type;
  static constexpr std::int64_t last = 4095;  // no call touches it

  explicit Scratch(const Place<Stream>& rank) {
    if constexpr (World::keeps_buffers) {
      static Guarded<float, World> lasting(size);
      buffer_ = &lasting;
    } else {
      own_ = std::make_unique<Guarded<float, World>>(size);
      buffer_ = own_.get();
    }
    for (std::int64_t i = 0; i < size; ++i) (*buffer_)[i] = 1.0f;
    put(rank, *buffer_);
  }
  [[nodiscard]] float* data() const { return buffer_->data(); }
  [[nodiscard]] const Guarded<float, World>& buffer() const { return *buffer_; }

 private:
  static constexpr std::int64_t size = last + 1;
  std::unique_ptr<Guarded<float, World>> own_;
  Guarded<float, World>* buffer_ = nullptr;
};

/// Where a failure travels to the ranks that wait, long; where they find out by their own deadline,
/// short.
template <class World>
constexpr std::chrono::milliseconds patience() {
  return World::failures_travel ? std::chrono::milliseconds(60000) : World::soon;
}
using Texts = std::vector<std::string>;

inline void says(const Rank& rank, const std::string& text, std::string_view what,
                 const Texts& parts) {
  for (const auto& part : parts)
    rank.findings.expect(text.find(part) != std::string::npos,
                         concat(what, ": \"", text, "\" does not say \"", part, "\""));
}
/// `f()` waits for a rank that failed. It is told so where that travels, and gives up past its
/// deadline where not; it says the rest either way.
template <class World, class F>
void fails(const Rank& rank, const F& f, std::string_view what, const Texts& told,
           const Texts& anyway = {}) {
  if constexpr (World::failures_travel) {
    const std::string text = rank.findings.template throws<PeerError>(f, what);
    says(rank, text, what, told);
    says(rank, text, what, anyway);
  } else {
    says(rank, rank.findings.template throws<dpgather::Error>(f, what), what, anyway);
  }
}
/// `f()` is a call on a communicator that has failed, and knows it.
template <class World, class F>
void stays_failed(const Rank& rank, const F& f, std::string_view what, const Texts& told = {}) {
  const std::string text = rank.findings.template throws<PeerError>(f, what);
  says(rank, text, what, {"communicator failed"});
  if (World::failures_travel) says(rank, text, what, told);
}

using Counts = std::vector<std::int64_t>;

template <class Comm>
using StreamOf = typename Comm::memory_type::stream_type;

/// rank 1 (the "odd" one) calls something else than the others.
template <class Comm>
struct Mismatch {
  using Call = void (*)(Comm&, float*, StreamOf<Comm>);
  const char* what;
  Call usual;
  Call odd;
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
  using S = StreamOf<Comm>;
  return {
      {"operation", [](Comm& c, float* x, S s) { c.all_reduce(x, x, 8, s); },
       [](Comm& c, float* x, S s) { c.all_gather(x, x + 64, 8, s); }, "all_reduce of 8 float",
       "rank 1: all_gather of 8 float"},
      {"count", [](Comm& c, float* x, S s) { c.all_gather(x, x + 64, 8, s); },
       [](Comm& c, float* x, S s) { c.all_gather(x, x + 64, 9, s); }, "all_gather of 8 float",
       "rank 1: all_gather of 9 float"},
      {"zero count", [](Comm& c, float* x, S s) { c.reduce_scatter(x, x + 512, 8, s); },
       [](Comm& c, float* x, S s) { c.reduce_scatter(x, x + 512, 0, s); },
       "reduce_scatter of 8 float", "rank 1: reduce_scatter of 0 float"},
      {"type", [](Comm& c, float* x, S s) { c.all_reduce(x, x, 8, s); },
       [](Comm& c, float* x, S s) {
         c.all_reduce(reinterpret_cast<std::int32_t*>(x), reinterpret_cast<std::int32_t*>(x), 8, s);
       },
       "all_reduce of 8 float", "rank 1: all_reduce of 8 int32"},
      {"16-bit type",
       [](Comm& c, float* x, S s) {
         c.all_reduce(reinterpret_cast<dpgather::bf16*>(x), reinterpret_cast<dpgather::bf16*>(x), 8,
                      s);
       },
       [](Comm& c, float* x, S s) {
         c.all_reduce(reinterpret_cast<dpgather::fp16*>(x), reinterpret_cast<dpgather::fp16*>(x), 8,
                      s);
       },
       "all_reduce of 8 bf16", "rank 1: all_reduce of 8 fp16"},
      {"root", [](Comm& c, float* x, S s) { c.broadcast(x, 8, 0, s); },
       [](Comm& c, float* x, S s) { c.broadcast(x, 8, 1, s); }, "broadcast of 8 float from root 0",
       "rank 1: broadcast of 8 float from root 1"},
      {"v-counts of one sum",
       [](Comm& c, float* x, S s) {
         auto n = same_counts(c, 4);
         c.all_gather_v(x, x + 64, n, offsets_of(c, 16), s);
       },
       [](Comm& c, float* x, S s) {
         auto n = same_counts(c, 4);
         ++n[0], --n[1];
         c.all_gather_v(x, x + 64, n, offsets_of(c, 16), s);
       },
       "all_gather_v of ", "rank 1: all_gather_v of "},
      {"v-counts of another sum",
       [](Comm& c, float* x, S s) {
         c.reduce_scatter_v(x + 64, x, same_counts(c, 4), offsets_of(c, 16), s);
       },
       [](Comm& c, float* x, S s) {
         c.reduce_scatter_v(x + 64, x, same_counts(c, 5), offsets_of(c, 16), s);
       },
       "reduce_scatter_v of ", "rank 1: reduce_scatter_v of "},
      {"second call of a group",
       [](Comm& c, float* x, S s) {
         c.group([&] { c.all_reduce(x, x, 8, s), c.all_reduce(x + 8, x + 8, 8, s); });
       },
       [](Comm& c, float* x, S s) {
         c.group([&] { c.all_reduce(x, x, 8, s), c.all_reduce(x + 8, x + 8, 7, s); });
       },
       "all_reduce of 8 float", "rank 1: all_reduce of 7 float"},
      {"length of a group",
       [](Comm& c, float* x, S s) {
         c.group([&] { c.all_reduce(x, x, 8, s), c.all_reduce(x + 8, x + 8, 8, s); });
       },
       [](Comm& c, float* x, S s) { c.all_reduce(x, x, 8, s); }, "all_reduce of 8 float",
       "rank 1: none"},
      {"split", [](Comm& c, float* x, S s) { c.all_reduce(x, x, 8, s); },
       [](Comm& c, float*, S) { static_cast<void>(c.split(0, 0)); }, "all_reduce of 8 float",
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
        [&](Comm& comm, auto rank) {
          const Scratch<World> scratch(rank);
          float* const x = scratch.data();
          const auto call = [&] {
            (rank.rank == 1 ? mismatch.odd : mismatch.usual)(comm, x, rank.stream);
          };
          const std::string text = rank.findings.template throws<MismatchError>(
              call, mismatch.what, {mismatch.odd_text});
          for (int r = 0; r < rank.size; ++r)
            if (r != 1)
              rank.findings.expect(
                  text.find(concat("rank ", r, ": ", mismatch.usual_text)) != std::string::npos,
                  concat("\"", text, "\" does not list rank ", r));
          rank.findings.template throws<PeerError>([&] { comm.all_reduce(x, x, 1, rank.stream); },
                                                   "the call after it",
                                                   {"ranks called different collectives"});
          rank.findings.template throws<PeerError>([&] { comm.check(); }, "check after it");
          fetch_by_stream(rank, scratch.buffer());
          rank.findings.expect(
              std::all_of(scratch.buffer().span().begin(), scratch.buffer().span().end(),
                          [](float one) { return one == 1.0f; }),
              "data was moved");
          rank.barrier();
        },
        2);
  }
}

TEST_CASE_TEMPLATE("calls that differ and are not compared end as errors, not as a hang", World,
                   CONFORMANCE_WORLDS) {
  if (!World::mismatches_end) return;
  using Comm = typename World::Comm;
  for (const auto& mismatch : mismatches<Comm>()) {
    INFO(mismatch.what);
    at_every_size<World>(
        [&](Comm& comm, auto rank) {
          const Scratch<World> scratch(rank);
          float* const x = scratch.data();
          int errors = 0;
          const auto attempt = [&](const auto& call) {
            try {
              call();
              finish(comm, rank);
            } catch (const dpgather::Error&) {
              ++errors;
            }
          };
          attempt([&] { (rank.rank == 1 ? mismatch.odd : mismatch.usual)(comm, x, rank.stream); });
          // A rank whose own call needed nobody is told by the next.
          attempt([&] { comm.all_reduce(x, x, 1, rank.stream); });
          rank.findings.expect(errors > (rank.rank == 1 ? 0 : 1), concat(errors, " errors"));
          rank.findings.template throws<PeerError>([&] { comm.check(); }, "check after it");
        },
        2, patience<World>());
  }
}

TEST_CASE_TEMPLATE("a rank that throws frees the ranks that wait for it", World,
                   CONFORMANCE_WORLDS) {
  // Each rank in turn, waited for in each kind of call.
  for (int failing = 0; failing < World::sizes().back(); ++failing)
    at_every_size<World>(
        [failing](auto& comm, auto rank) {
          if (failing >= rank.size) return;
          // Where each takes a deadline, the ends must do.
          if (!World::failures_travel && failing != 0 && failing != rank.size - 1) return;
          const Scratch<World> scratch(rank);
          float* const x = scratch.data();
          count_ranks<World>(comm, rank);
          comm.set_step(42);
          rank.barrier();  // an abort does not wait for the call before to end everywhere
          if (rank.rank == failing) throw Planned("nobody catches this");
          fails<World>(rank,
                       [&] {
                         comm.all_gather(x, x + 64, 8, rank.stream);
                         finish(comm, rank);
                       },
                       "the wait",
                       {concat("rank ", failing, " ended with an exception"), "all_gather"},
                       {"step 42", concat("rank ", rank.rank, ",")});
          for (int again = 0; again < 2; ++again)
            stays_failed<World>(rank, [&] { comm.broadcast(x, 8, 0, rank.stream); }, "a later call",
                                {"ended with an exception"});
          stays_failed<World>(
              rank, [&] { static_cast<void>(comm.split(0, 0)); }, "a later split");
        },
        2, patience<World>());
}

TEST_CASE_TEMPLATE("abort frees waiting ranks with its reason, and is final", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>(
      [](auto& comm, auto rank) {
        const Scratch<World> scratch(rank);
        float* const x = scratch.data();
        const auto wait = [&] {
          comm.reduce_scatter(x, x + 512, 8, rank.stream);
          finish(comm, rank);
        };
        const std::vector<std::string> reason{"communicator failed", "out of page tables"};
        if (rank.rank == rank.size - 1) {
          comm.abort("out of page tables");
          comm.abort("a second reason");
          rank.findings.template throws<PeerError>(wait, "the rank that aborted",
                                                   {reason[0], reason[1]});
        } else {
          fails<World>(rank, wait, "the wait", reason);
        }
        const auto after = [&](const auto& f, std::string_view what) {
          stays_failed<World>(rank, f, what, {"out of page tables"});
        };
        after([&] { comm.check(); }, "check");
        after([&] { comm.all_reduce(x, x, 0, rank.stream); }, "a call of nothing");
        after([&] { comm.group([&] { comm.all_reduce(x, x, 8, rank.stream); }); }, "a group");
        after(
            [&] {  // refused when captured or when launched
              const auto graph = World::Graphs::capture(
                  rank.stream, [&](auto stream) { comm.all_reduce(x, x, 8, stream); });
              launch<World>(graph, rank);
            },
            "a captured call");
        rank.barrier();
      },
      1, patience<World>());
}

TEST_CASE_TEMPLATE("an abort of a split leaves its parent alone", World, CONFORMANCE_WORLDS) {
  at_every_size<World>(
      [](auto& comm, auto rank) {
        const Scratch<World> scratch(rank);
        float* const x = scratch.data();
        auto part = comm.split(0, rank.rank);
        // Waiting for its deadline would fail the parent as well, where that is all there is.
        if (rank.rank == 0 || !World::failures_travel) part.abort("only the part");
        fails<World>(rank,
                     [&] {
                       part.all_reduce(x, x, 1, rank.stream);
                       finish(part, rank);
                     },
                     "the part", {"only the part"});
        const float found = count_ranks<World>(comm, rank);
        rank.findings.expect(found == static_cast<float>(rank.size), "sum over all after it");
      },
      1, patience<World>());
}

TEST_CASE_TEMPLATE("a rank that leaves early is named to those that need it", World,
                   CONFORMANCE_WORLDS) {
  const QuietDestructors leaving_may_need_peers;
  at_every_size<World>(
      [](auto& comm, auto rank) {
        const Scratch<World> scratch(rank);
        float* const x = scratch.data();
        // It took part in these, so they must end well on all ranks however early it is gone.
        float found = 0;
        for (int i = 0; i < 3; ++i) found = count_ranks<World>(comm, rank);
        rank.findings.expect(found == static_cast<float>(rank.size), "sum before it left");
        if (rank.rank == 1) return;
        fails<World>(rank,
                     [&] {
                       comm.all_reduce(x, x, 8, rank.stream);
                       finish(comm, rank);
                     },
                     "the wait", {"rank 1 left"});
        stays_failed<World>(rank, [&] { comm.check(); }, "check", {"rank 1 left"});
      },
      2, patience<World>());
}

TEST_CASE_TEMPLATE("a peer that never comes is an error past the deadline", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>(
      [](auto& comm, auto rank) {
        const Scratch<World> scratch(rank);
        float* const x = scratch.data();
        const std::string limit = concat(World::soon.count(), " ms");
        const auto call = [&] {
          comm.all_reduce(x, x, 8, rank.stream);
          finish(comm, rank);
        };
        if (rank.rank != 0) {
          const auto start = std::chrono::steady_clock::now();
          try {
            call();
            rank.findings.expect(false, "no error came");
          } catch (const TimeoutError& error) {
            rank.findings.expect(error.detail().find(limit) != std::string::npos, error.what());
          } catch (const PeerError& error) {  // another rank's deadline was a bit earlier
            rank.findings.expect(error.detail().find(limit) != std::string::npos, error.what());
          }
          const auto waited = std::chrono::steady_clock::now() - start;
          rank.findings.expect(
              waited > World::soon / 2 && waited < World::soon + std::chrono::seconds(10),
              concat("waited ", std::chrono::duration<double>(waited).count(), " s"));
        }
        rank.barrier();
        if (rank.rank == 0)
          fails<World>(rank, call, "the late one", {"no answer within " + limit}, {limit});
        else
          stays_failed<World>(rank, call, "the next call", {"within " + limit});
        rank.barrier();
      },
      2, World::soon);
}

TEST_CASE_TEMPLATE("a wrong argument is an error before anything changes", World,
                   CONFORMANCE_WORLDS) {
  at_every_size<World>([](auto& comm, auto rank) {
    const int n = rank.size;
    const auto stream = rank.stream;
    const Guarded<float, World> in(64), out(64 * n);
    for (std::int64_t i = 0; i < out.size(); ++i) out[i] = 5.0f;
    put(rank, in, out);
    const float* const a = in.data();
    float* const b = out.data();
    const float* const null = nullptr;
    const auto refuses = [&](const auto& f, std::initializer_list<std::string_view> parts) {
      rank.findings.template throws<InvalidArgument>(f, "a wrong call", parts);
    };
    refuses([&] { comm.all_gather(a, b, -3, stream); }, {"all_gather", "-3"});
    refuses([&] { comm.all_reduce(null, b, 4, stream); }, {"all_reduce", "null"});
    refuses([&] { comm.reduce_scatter(b, static_cast<float*>(nullptr), 4, stream); },
            {"reduce_scatter", "null"});
    refuses([&] { comm.broadcast(b, 4, n, stream); }, {"broadcast", concat(n)});
    refuses([&] { comm.broadcast(b, 4, -1, stream); }, {"root", "-1"});
    refuses([&] { comm.all_reduce(b, b + 1, 4, stream); }, {"overlap"});
    const Counts fours(static_cast<std::size_t>(n), 4);
    Counts offsets;
    for (int r = 0; r < n; ++r) offsets.push_back(4 * r);
    Counts negative = fours;
    negative.back() = -7;
    refuses([&] { comm.all_gather_v(a, b, negative, offsets, stream); }, {"all_gather_v", "-7"});
    refuses([&] { comm.reduce_scatter_v(b, in.data(), fours, Counts{}, stream); },
            {"reduce_scatter_v", "0 offsets"});
    if (n > 1) {
      Counts shifted = offsets;
      shifted[1] -= 1;
      refuses([&] { comm.all_gather_v(a, b, fours, shifted, stream); }, {"overlap", "3"});
    }
    fetch(comm, rank, out);
    rank.findings.expect(
        std::all_of(out.span().begin(), out.span().end(), [](float x) { return x == 5.0f; }),
        "a buffer was changed");
    const float found = count_ranks<World>(comm, rank);  // and all goes on
    rank.findings.expect(found == static_cast<float>(n), "the call after them");
  });
}
