// SumLen<PeerStore> between processes: IpcComm over a communicator of simulated GPUs, each rank a
// process, whose streams wait by kernels that watch epochs.
#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/cuda.hpp>

#include "property/layers.hpp"
#include "sim/launch.hpp"
#include "sim/world.hpp"
#include "support/ipc_ranks.hpp"
#include "support/seed.hpp"
#include "support/transfer_cuda.hpp"

namespace {

using namespace test;
using std::chrono::milliseconds;
// Checks that communicate would order ranks, too.
using Base = NcclComm<DeviceMemory, CheckLevel::local>;
using Comm = IpcComm<Base>;
using OnOneGpu = IpcComm<ThreadComm<DeviceMemory, CheckLevel::local>>;

constexpr milliseconds soon = ipc_deadline;

struct Schedule {
  std::uint64_t seed = 1;
  std::uint32_t first_epoch = 0;
  int gathers = 1;
  int steps = 12;
};

/// Steps that count as replays on each rank.
template <class C = Comm>
std::uint64_t serve(const DpLayout& layout, const Schedule& how, int devices) {
  const DeviceWorld<C> world(layout, {.deadline = soon, .first_epoch = how.first_epoch});
  const auto schedule = how.seed % 2 == 0 ? sim::Schedule::late : sim::Schedule::random;
  std::uint64_t replays = 0;
  const int ranks = layout.world();
  sim::run({.ranks = ranks, .devices = devices, .seed = how.seed, .schedule = schedule},
           [&](int r) {
             run_device_rank(world, r, devices, [&](RankOf<C>& rank) {
               Layers<SumLen<PeerStore>, float, C, CudaGraphs> layers(rank, 4, how.gathers);
               std::mt19937_64 random(how.seed);
               for (int step = 0; step < how.steps; ++step) {
                 layers.step(step, draw_rows(random, layout.dp, 4));
                 if (step % 5 == 4) layers.check();
               }
               layers.check();
               if (r == 0) replays = layers.statistics().replays;
             });
           });
  CHECK(sim::last_report().leaks.empty());
  return replays;
}

/// What each rank's body threw, "" if nothing; all of them run to their end.
template <class C = Comm, class Body>
std::vector<std::string> errors_of(const sim::Options& options, const DeviceWorld<C>& world,
                                   const Body& body) {
  std::vector<std::string> errors(static_cast<std::size_t>(options.ranks));
  sim::run(options, [&](int r) {
    std::string& mine = errors[static_cast<std::size_t>(r)];
    try {
      run_device_rank(world, r, options.devices, [&](RankOf<C>& rank) {
        try {
          body(rank);
        } catch (const TimeoutError& error) {
          mine = "TimeoutError " + error.detail();
        } catch (const PeerError& error) {
          mine = "PeerError " + error.detail();
        } catch (const InvalidArgument& error) {
          mine = "InvalidArgument " + error.detail();
        }
      });
    } catch (const Error& error) {
      mine = "from outside: " + std::string(error.what());
    }
  });
  for (const auto& leak : sim::last_report().leaks) FAIL_CHECK(leak);
  return errors;
}

void all_are(const std::vector<std::string>& errors, const std::string& text) {
  for (std::size_t r = 0; r < errors.size(); ++r) {
    INFO("rank ", r);
    CHECK(errors[r] == text);
  }
}

/// A gather and its way back, eagerly.
template <class Mode = SumLen<PeerStore>, class C>
void one_step(RankOf<C>& rank, std::int64_t index) {
  DpGather<Mode, float, C> gather(rank.comm,
                                  {.layout = rank.layout, .hidden = 3, .max_local_rows = 4});
  const Step step = rank.agree({.tokens = 2, .requests = 2, .forward = Forward::decode});
  const ShapeKey shape = gather.exact_shape(step);
  gather.begin_step(step, shape, rank.stream);
  const Buffer<float, DeviceMemory> rows(4 * 3);
  const Buffer<StepWords, DeviceMemory> now(1);
  launch(rank.stream, "step_words", 1, WriteStep{StepWords{.index = index}, now.data()});
  launch(rank.stream, "produce", 4, ProduceLayer<float>{rows.rows(4, 3), now.data(), 0, rank.dp()});
  const Rows<float> all = gather.gather(shape, Rows<const float>(rows.data(), 2, 3), rank.stream);
  std::vector<float> found(static_cast<std::size_t>(all.rows() * 3));
  rank.comm.synchronize(rank.stream);
  gather.status();
  download(static_cast<const float*>(all.data()), std::span<float>(found), rank.stream);
  for (std::int64_t at = 0; at < all.rows(); ++at)
    for (std::int64_t j = 0; j < 3; ++j)
      expect(is(found[static_cast<std::size_t>(at * 3 + j)],
                true_value(index * 64, at / 2, at % 2, j)),
             "row ", at, " is wrong on rank ", rank.rank());
}

}  // namespace

TEST_CASE("processes gather by stores, on every schedule and with epochs that wrap around") {
  const std::uint64_t first = support::seed("device_path ipc_store", 1);
  constexpr DpLayout layouts[] = {
      {.dp = 1}, {.dp = 2}, {.dp = 3}, {.dp = 2, .attn_tp = 2}, {.dp = 8}};
  for (std::uint64_t seed = first; seed < first + 30; ++seed) {
    const DpLayout& layout = layouts[seed % 5];
    const Schedule how{.seed = seed,
                       .first_epoch = static_cast<std::uint32_t>(-(seed % 7) * 5 - 1),
                       .gathers = 1 + static_cast<int>(seed / 5 % 4)};
    INFO("seed ", seed, ": ", layout.dp, " * ", layout.attn_tp, " ranks, ", how.gathers,
         " gathers a step, first epoch ", how.first_epoch);
    std::uint64_t replays = 0;
    CHECK_NOTHROW(replays = serve(layout, how, layout.world()));
    CHECK(replays > 0);
  }
}

TEST_CASE("a barrier inside a group is refused, and the communicator goes on") {
  all_are(errors_of({.ranks = 2, .devices = 2}, DeviceWorld<Comm>({.dp = 2}),
                    [](RankOf<Comm>& rank) {
                      std::string text;
                      try {
                        rank.comm.group([&] { rank.comm.barrier(rank.stream); });
                      } catch (const InvalidArgument& error) {
                        text = error.detail();
                      }
                      expect(text == "a barrier is not possible inside a group", text);
                      one_step(rank, 4);
                    }),
          "");
}

TEST_CASE("elements are counted from the construction on, stores too") {
  all_are(errors_of({.ranks = 3, .devices = 3}, DeviceWorld<Comm>({.dp = 3}),
                    [](RankOf<Comm>& rank) {
                      expect(rank.comm.elements_moved() == 0, "what construction moved is counted");
                      one_step(rank, 1);
                      expect(rank.comm.elements_moved() == 3 * 2 * 3,
                             "a gather of 2 rows a rank, 3 wide: ", rank.comm.elements_moved());
                    }),
          "");
}

TEST_CASE("thousands of replays with other counts each, half of them behind the wrap-around") {
  constexpr std::uint32_t barriers_a_step = 4 + 4;  // two gathers, of which one has a way back
  const std::uint64_t replays =
      serve({.dp = 3},
            {.seed = 5, .first_epoch = -1000U * barriers_a_step, .gathers = 2, .steps = 2000}, 3);
  CHECK(replays >= 1990);
}

TEST_CASE("ranks that share GPUs gather by stores: their streams wait, and no kernel does") {
  const std::uint64_t first = support::seed("device_path ipc_store shared", 1);
  constexpr DpLayout layouts[] = {{.dp = 2}, {.dp = 3}, {.dp = 2, .attn_tp = 2}, {.dp = 8}};
  for (std::uint64_t seed = first; seed < first + 16; ++seed) {
    const DpLayout& layout = layouts[seed % 4];
    const int devices = 1 + static_cast<int>(seed / 4 % 2);
    const Schedule how{.seed = seed, .gathers = 1 + static_cast<int>(seed / 4 % 4)};
    INFO("seed ", seed, ": ", layout.dp, " * ", layout.attn_tp, " ranks on ", devices, " GPUs, ",
         how.gathers, " gathers a step");
    std::uint64_t replays = 0;
    CHECK_NOTHROW(replays = serve<OnOneGpu>(layout, how, devices));
    CHECK(replays > 0);
  }
}

// No memory is freed on the way: in the simulation that waits for all ranks of the GPU, as within a process.
void meet(RankOf<OnOneGpu>& rank) {
  for (int i = 0; i < 3; ++i) rank.comm.barrier(rank.stream);
  rank.comm.synchronize(rank.stream);
}

TEST_CASE("ranks that share a GPU: one that does not come fails all, one that aborts frees all") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    INFO("seed ", seed);
    const sim::Options options{.ranks = 3,
                               .devices = 1 + static_cast<int>(seed % 2),
                               .seed = seed,
                               .schedule = sim::Schedule::random};
    const auto late =
        errors_of(options, DeviceWorld<OnOneGpu>({.dp = 3}), [&](RankOf<OnOneGpu>& rank) {
          meet(rank);
          if (rank.rank() == 1) std::this_thread::sleep_for(soon + soon / 2);
          if (rank.rank() != 1) rank.comm.barrier(rank.stream);
          rank.comm.synchronize(rank.stream);
        });
    all_are(late, "TimeoutError a rank did not come to a barrier within 300 ms");
    const auto aborted =
        errors_of(options, DeviceWorld<OnOneGpu>({.dp = 3}), [&](RankOf<OnOneGpu>& rank) {
          meet(rank);
          if (rank.rank() == 2) {
            rank.comm.abort("no more memory");
            rank.comm.check();
          }
          rank.comm.barrier(rank.stream);
          if (seed % 3 == 0) rank.stream.synchronize();  // freed even where the host does not look
          rank.comm.synchronize(rank.stream);
        });
    all_are(aborted, "PeerError communicator failed: rank 2 aborted: no more memory");
  }
}

TEST_CASE("ranks that share a GPU: destruction waits for the deadline and no longer") {
  const auto errors = errors_of({.ranks = 2, .devices = 1}, DeviceWorld<OnOneGpu>({.dp = 2}),
                                [](RankOf<OnOneGpu>& rank) {
                                  meet(rank);
                                  if (rank.rank() == 0) rank.comm.barrier(rank.stream);
                                });
  all_are(errors, "");
  CHECK(sim::last_report().virtual_s < 2);
}

TEST_CASE("a rank that does not come within the deadline fails all, with one text") {
  for (const int ranks : {2, 3, 8})
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      INFO("ranks ", ranks, ", seed ", seed);
      const DpLayout layout{.dp = ranks};
      const sim::Options options{
          .ranks = ranks,
          .devices = ranks,
          .seed = seed,
          .schedule = seed % 2 == 0 ? sim::Schedule::late : sim::Schedule::random};
      const auto errors = errors_of(options, DeviceWorld<Comm>(layout), [&](RankOf<Comm>& rank) {
        one_step(rank, 1);
        if (rank.rank() == 1) {
          std::this_thread::sleep_for(soon + soon / 2);  // peers are about to leave
          rank.comm.check();
          throw std::logic_error("nothing was known of the failure");
        }
        rank.comm.barrier(rank.stream);
        rank.comm.synchronize(rank.stream);
      });
      all_are(errors, "TimeoutError rank 1 did not come to a barrier within 300 ms");
      CHECK(sim::last_report().virtual_s < 10);
    }
}

TEST_CASE(
    "a rank that does not replay a graph fails all, and status says so before results are used") {
  const DpLayout layout{.dp = 3};
  for (const bool by_status : {true, false})
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      INFO("seed ", seed, by_status ? ", by status" : ", by synchronize");
      const sim::Options options{
          .ranks = 3, .devices = 3, .seed = seed, .schedule = sim::Schedule::random};
      const auto errors = errors_of(options, DeviceWorld<Comm>(layout), [&](RankOf<Comm>& rank) {
        DpGather<SumLen<PeerStore>, float, Comm> gather(
            rank.comm, {.layout = layout, .hidden = 3, .max_local_rows = 4});
        const ShapeKey shape{.local_len = 4,
                             .global_len = 12,
                             .transport = Transport::sum_len_peer_store,
                             .forward = Forward::decode,
                             .is_static = true};
        gather.begin_step(rank.agree({.tokens = 3, .requests = 3, .forward = Forward::decode}),
                          shape, rank.stream);
        const auto graph = CudaGraphs::capture(rank.stream, [&](CudaStream s) {
          gather.gather(shape, gather.slot(shape), s);
          gather.reduce_scatter(shape, gather.partial_slot(shape), gather.slot(shape), s);
        });
        for (int replay = 0; replay < 5; ++replay)
          if (replay < 3 || rank.rank() != 2)
            CudaGraphs::launch(graph, rank.stream, {.rank = rank.rank()});
        if (rank.rank() == 2) std::this_thread::sleep_for(soon + soon / 2);
        if (by_status) {
          rank.stream.synchronize();
          gather.status();
        } else {
          rank.comm.synchronize(rank.stream);
        }
      });
      all_are(errors, "TimeoutError rank 2 did not come to a barrier within 300 ms");
    }
}

TEST_CASE("a rank that aborts frees those that wait in barriers, long before the deadline") {
  for (const int ranks : {2, 3}) {
    const sim::Options options{.ranks = ranks, .devices = ranks};
    const DeviceWorld<Comm> world({.dp = ranks}, {.deadline = milliseconds(4000)});
    const auto errors = errors_of(options, world, [&](RankOf<Comm>& rank) {
      one_step(rank, 1);
      if (rank.rank() == 0) {
        rank.comm.abort("no more memory");
        rank.comm.check();
      }
      rank.comm.barrier(rank.stream);
      rank.comm.synchronize(rank.stream);
    });
    all_are(errors, "PeerError communicator failed: rank 0 aborted: no more memory");
    CHECK(sim::last_report().virtual_s < 2);
  }
}

TEST_CASE("once it has failed, element work leaves peers' memory alone") {
  const auto errors =
      errors_of({.ranks = 2, .devices = 2}, DeviceWorld<Comm>({.dp = 2}), [&](RankOf<Comm>& rank) {
        const Buffer<float, DeviceMemory> row(4);
        const Buffer<float, DeviceMemory> out(4);
        DeviceMemory::zero(row.data(), 16);
        const auto mapped = rank.comm.reach(row.data());
        const Buffer<std::int64_t, DeviceMemory> addresses(2);
        detail::WriteWords words{};
        std::copy(mapped->addresses().begin(), mapped->addresses().end(), words.values);
        words.to = addresses.data();
        words.count = 2;
        launch(rank.stream, "addresses", 1, words);
        if (rank.rank() == 0) rank.comm.abort("enough");
        while (true) {
          try {
            rank.comm.check();
          } catch (const PeerError&) {
            break;
          }
          std::this_thread::sleep_for(milliseconds(1));
        }
        const Buffer<std::int64_t, DeviceMemory> counts(4);
        detail::WriteWords one{.values = {1, 0, 1, 0}, .to = counts.data(), .count = 4};
        launch(rank.stream, "counts", 1, one);
        const CountsView view{.valid = counts.data(),
                              .offsets = counts.data() + 1,
                              .lens = counts.data() + 2,
                              .error = counts.data() + 3,
                              .blocks = 1,
                              .own = 0};
        launch(rank.stream, "poison", 4, Poison<float>{out.data()});
        launch(rank.stream, "pull", 1,
               detail::PullAndAdd<float>{{addresses.data(), 2, rank.rank(), rank.comm.stop_word()},
                                         Rows<float>(out.data(), 1, 4),
                                         0,
                                         1,
                                         1,
                                         view});
        rank.stream.synchronize();
        std::array<float, 4> found{};
        download(static_cast<const float*>(out.data()), std::span<float>(found), rank.stream);
        for (const float value : found) expect(!(value == 0), "the sum was written");
      });
  all_are(errors, "");
}

TEST_CASE("peers out of reach: the mode is refused on all ranks alike, other modes serve") {
  const sim::Options options{.ranks = 3, .devices = 3, .apart = {{0, 2}}};
  const std::string pair = "rank 0 (GPU 0000:10:00.0) and rank 2 (GPU 0000:12:00.0)";
  all_are(errors_of(options, DeviceWorld<Comm>({.dp = 3}),
                    [](RankOf<Comm>& rank) {
                      expect(!rank.comm.peers_in_reach(), "peers are said to be in reach");
                      one_step<MaxLen>(rank, 7);
                      one_step<SumLen<PeerStore>>(rank, 8);
                    }),
          "InvalidArgument peers are out of reach: " + pair + " cannot read each other's memory");
  const sim::Options none{.ranks = 3, .devices = 3, .peers = false};
  all_are(errors_of(none, DeviceWorld<Comm>({.dp = 3}),
                    [](RankOf<Comm>& rank) { rank.comm.barrier(rank.stream); }),
          "InvalidArgument peers are out of reach: rank 0 (GPU 0000:10:00.0) and rank 1 (GPU "
          "0000:11:00.0) cannot read each other's memory");
}

TEST_CASE("processes on two hosts serve by hosts, in graphs") {
  const auto seed = support::seed("processes by hosts", 51);
  for (const DpLayout layout : {DpLayout{.dp = 4}, DpLayout{.dp = 2, .attn_tp = 2}}) {
    const DeviceWorld<Base> world(layout, patient_nccl);
    INFO("attn_tp ", layout.attn_tp);
    std::uint64_t replays = 0;
    sim::run({.ranks = 4, .devices = 4, .seed = seed}, [&](int r) {
      run_device_rank(world, r, 4, [&](RankOf<Base>& rank) {
        Comm comm(rank.comm.split(0, r), {.deadline = soon, .host = r < 2 ? 11 : 12});
        expect(!comm.peers_in_reach(), "in reach");
        RankOf<Comm> mine{comm, rank.control, rank.agreement, rank.layout, rank.stream};
        Layers<SumLen<Hierarchical>, float, Comm, CudaGraphs> layers(mine, 4, 2, 3, 2);
        std::mt19937_64 random(seed);
        for (int step = 0; step < 20; ++step) layers.step(step, draw_rows(random, layout.dp, 4));
        layers.check();
        if (r == 0) replays = layers.statistics().replays;
      });
    });
    CHECK(sim::last_report().leaks.empty());
    CHECK(replays >= 15);
  }
}

TEST_CASE("ranks of two hosts are out of reach") {
  const DeviceWorld<Base> world({.dp = 3}, patient_nccl);
  std::vector<std::string> texts(3);
  sim::run({.ranks = 3, .devices = 3}, [&](int r) {
    run_device_rank(world, r, 3, [&](RankOf<Base>& rank) {
      Comm comm(rank.comm.split(0, r), {.deadline = soon, .host = r == 1 ? 12 : 11});
      try {
        static_cast<void>(comm.reach(nullptr));
      } catch (const InvalidArgument& error) {
        texts[static_cast<std::size_t>(r)] = error.detail();
      }
    });
  });
  all_are(texts,
          "peers are out of reach: rank 0 (GPU 0000:10:00.0) and rank 1 (GPU 0000:11:00.0) "
          "are on different hosts or in different containers");
}

TEST_CASE(
    "a buffer that cannot be exported is an error on all ranks, and the communicator goes on") {
  all_are(errors_of({.ranks = 2, .devices = 2}, DeviceWorld<Comm>({.dp = 2}),
                    [](RankOf<Comm>& rank) {
                      {
                        const Buffer<float, DeviceMemory> pooled(64, rank.stream);
                        const Buffer<float, DeviceMemory> plain(64);
                        rank.comm.synchronize(rank.stream);
                        std::string text;
                        try {
                          static_cast<void>(
                              rank.comm.reach(rank.rank() == 1 ? pooled.data() : plain.data()));
                        } catch (const InvalidArgument& error) {
                          text = error.detail();
                        }
                        expect(text.find("rank 1: cudaIpcGetMemHandle") == 0 &&
                                   text.find("rank 0:") == text.npos,
                               "\"", text, "\" does not say who cannot");
                      }
                      one_step(rank, 3);
                    }),
          "");
}
