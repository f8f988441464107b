// What must be an error, what it says, and that nobody hangs or leaks: aborts, NCCL's own errors,
// peers that never come, and an error of any call.
#include <optional>

#include "nccl_comm/harness.hpp"

namespace {

using namespace nccl_test;
using dpgather::Error;
using dpgather::NcclError;
using dpgather::NcclUniqueId;
using dpgather::PeerError;
using dpgather::TimeoutError;
using Sizes = std::vector<std::int64_t>;
using Floats = std::vector<float>;

struct Planned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Every call says what `parts` say.
template <class Comm>
void expect_failed(Comm& comm, CudaStream stream, std::initializer_list<std::string_view> parts) {
  float x = 0;  // never touched
  const auto refuses = [&](const auto& f) { throws<PeerError>(f, parts); };
  for (int again = 0; again < 2; ++again) {
    refuses([&] { comm.all_gather(&x, &x, 1, stream); });
    refuses([&] { comm.all_reduce(&x, &x, 0, stream); });
    refuses([&] { comm.reduce_scatter(&x, &x, 1, stream); });
    refuses([&] { comm.broadcast(&x, 1, 0, stream); });
    const Sizes sizes(static_cast<std::size_t>(comm.size()), 0);
    refuses([&] { comm.all_gather_v(&x, &x, sizes, sizes, stream); });
    refuses([&] { comm.reduce_scatter_v(&x, &x, sizes, sizes, stream); });
    refuses([&] { comm.group([&] { comm.broadcast(&x, 1, 0, stream); }); });
    refuses([&] { static_cast<void>(comm.split(0, 0)); });
    refuses([&] { comm.check(); });
    refuses([&] { comm.synchronize(stream); });
  }
}

TEST_CASE("an abort is final, keeps its first reason, and is in every later call's error") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    comm.set_step(9);
    comm.abort("out of page tables");
    comm.abort("a second reason");
    expect_failed(comm, stream,
                  {concat("rank ", comm.rank(), ", step 9, "), "communicator failed: ",
                   concat("rank ", comm.rank(), " aborted: out of page tables")});
  });
}

TEST_CASE("an abort without a reason says so") {
  on_comms(1, [](NcclComm<>& comm, CudaStream) {
    comm.abort("");
    throws<PeerError>([&] { comm.check(); }, {"rank 0 aborted: "});
  });
}

TEST_CASE("peers of a rank that aborts get NCCL's error where it tells, else their deadline") {
  for (const bool remote : {true, false}) {
    INFO("NCCL tells: ", remote);
    const sim::nccl::WithOptions tells({.remote_errors = remote});
    const auto report = on_comms(3, [&](NcclComm<>& comm, CudaStream stream) {
      const Data<float> one(4, 1, stream);
      comm.all_reduce(one.get(), one.get(), 4, stream);
      comm.synchronize(stream);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (comm.rank() == 2) return comm.abort("no more memory");
      const auto next = [&] {
        comm.all_reduce(one.get(), one.get(), 4, stream);
        comm.synchronize(stream);
      };
      if (remote) {
        const auto text = throws<NcclError>(next, {"remote process exited"});
        throws<PeerError>([&] { comm.check(); }, {text});
      } else {
        throws<TimeoutError>(next, {"the stream did not finish within 300 ms"});
      }
      expect_failed(comm, stream, {"communicator failed: "});
      stream.synchronize();  // the abort has freed it
    });
    CHECK((report.virtual_s < 0.25) == remote);
  }
}

TEST_CASE("an exception that passes aborts, so that peers that are told are free at once") {
  const sim::nccl::WithOptions tells({.remote_errors = true});
  const auto id = NcclUniqueId::create();
  const auto report = on_gpus(2, [&](int rank) {
    const OwnStream stream;
    try {
      NcclComm<> comm(id, rank, 2, options_for_tests());
      const Data<float> one(4, 1, stream);
      if (rank == 1) throw Planned("nobody catches this inside");
      comm.all_reduce(one.get(), one.get(), 4, CudaStream(stream));
      comm.synchronize(CudaStream(stream));
      throw std::logic_error("no error came");
    } catch (const Planned&) {
    } catch (const NcclError& error) {
      expect(rank == 0 && error.code() == ncclRemoteError, error.what());
    }
  });
  CHECK(report.virtual_s < 0.25);
}

TEST_CASE("NCCL's asynchronous error surfaces at whatever comes next, and ends the communicator") {
  for (const auto code : {ncclRemoteError, ncclInternalError, ncclSystemError})
    for (int poll = 0; poll < 12; ++poll) {
      INFO("error ", static_cast<int>(code), " at poll ", poll);
      const sim::nccl::WithOptions fails({.polls = 1, .async_errors = {{0, poll, code}}});
      const auto id = NcclUniqueId::create();
      int failed = 0;
      on_gpus(2, [&](int rank) {
        const OwnStream stream;
        std::optional<NcclComm<>> comm;
        try {
          comm.emplace(id, rank, 2, options_for_tests());
          const Data<float> one(4, 1, stream);
          for (int i = 0; i < 8; ++i) {
            comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream));
            comm->synchronize(CudaStream(stream));
          }
          comm->check();
          expect(rank != 0, "rank 0 did not notice");
        } catch (const NcclError& error) {
          expect(rank == 0 && error.code() == code, error.what());
          ++failed;
        } catch (const TimeoutError&) {
          expect(rank == 1, "rank 0 timed out");
          ++failed;
        }
        if (comm && rank == 0) expect_failed(*comm, CudaStream(stream), {"communicator failed"});
      });
      CHECK(failed >= 1);
    }
}

TEST_CASE("a peer that never comes is an error past the deadline, and the stream is free then") {
  const auto report = on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> one(4, 1, stream);
    comm.all_reduce(one.get(), one.get(), 4, stream);
    comm.synchronize(stream);
    if (comm.rank() == 1) return comm.abort("leaves");
    comm.set_step(3);
    comm.all_reduce(one.get(), one.get(), 4, stream);
    throws<TimeoutError>([&] { comm.synchronize(stream); }, {"rank 0, step 3, synchronize", "300"});
    throws<PeerError>([&] { comm.check(); }, {"communicator failed", "did not finish within 300"});
    stream.synchronize();
  });
  CHECK(report.virtual_s > 0.29);
  CHECK(report.virtual_s < 2.0);
}

TEST_CASE("calls that differ end at the deadline on all ranks") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> one(16, 1, stream);
    comm.all_reduce(one.get(), one.get(), 4 + comm.rank(), stream);
    throws<TimeoutError>([&] { comm.synchronize(stream); }, {"300 ms"});
  });
}

TEST_CASE("an argument that NCCL refuses is an error of that call alone") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    const Data<float> one(4, 1, stream);
    float host[4] = {};
    try {
      comm.all_reduce(host, one.get(), 4, stream);
      throw std::logic_error("no error came");
    } catch (const NcclError& error) {
      expect(error.code() == ncclInvalidArgument, error.what());
      expect(std::string(error.what()).find("ncclAllReduce failed: invalid argument") !=
                 std::string::npos,
             error.what());
    }
    expect(comm.elements_moved() == 0, "it was counted");
    comm.all_reduce(one.get(), one.get(), 4, stream);
    comm.synchronize(stream);
    expect(one.read() == Floats(4, 2), "the call after it");
  });
}

TEST_CASE("a deadline on a part frees the whole, whose work may be what is stuck") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    auto part = comm.split(0, 0);
    const Data<float> one(4, 1, stream);
    if (comm.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::seconds(2));
      part.abort("gone"), comm.abort("gone");
      return;
    }
    comm.all_reduce(one.get(), one.get(), 4, stream);
    throws<TimeoutError>([&] { part.synchronize(stream); }, {"synchronize", "300 ms"});
    expect_failed(comm, stream, {"communicator failed", "did not finish within 300 ms"});
    stream.synchronize();
  });
}

TEST_CASE("an abort of a part leaves the whole alone") {
  on_comms(2, [](NcclComm<>& comm, CudaStream stream) {
    auto part = comm.split(0, 0);
    part.abort("only the part");
    throws<PeerError>([&] { part.check(); }, {"only the part"});
    const Data<float> one(4, 1, stream);
    comm.all_reduce(one.get(), one.get(), 4, stream);
    comm.synchronize(stream);
    expect(one.read() == Floats(4, 2), "the whole after it");
  });
}

TEST_CASE("an abort from another thread frees a rank that waits inside a call") {
  const auto id = NcclUniqueId::create();
  auto options = options_for_tests();
  options.deadline = std::chrono::hours(1);
  const auto report = on_gpus(2, [&](int rank) {
    const OwnStream stream;
    NcclComm<> comm(id, rank, 2, options);
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      comm.abort("by the user");
    });
    if (rank == 0) throws<PeerError>([&] { static_cast<void>(comm.split(0, 0)); }, {"by the user"});
    other.join();
  });
  CHECK(report.virtual_s < 60);
}

TEST_CASE("an abort under live graphs frees the device at once and ends with the graphs") {
  const Reports reports;
  const auto id = NcclUniqueId::create();
  on_gpus(2, [&](int rank) {
    const OwnStream stream;
    const Data<float> one(4, 1, stream);
    std::optional<NcclComm<>> comm(std::in_place, id, rank, 2, options_for_tests());
    comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream));
    comm->synchronize(CudaStream(stream));
    std::optional<Captured> graph;
    graph.emplace(CudaStream(stream),
                  [&] { comm->all_reduce(one.get(), one.get(), 4, CudaStream(stream)); });
    if (rank == 0) {
      graph->launch();
      throws<TimeoutError>([&] { comm->synchronize(CudaStream(stream)); }, {"300 ms"});
      expect(cudaStreamSynchronize(stream.get()) == cudaSuccess, "the stream is still stuck");
      comm.reset();
      graph.reset();
    } else {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      comm->abort("late");
      graph.reset();
      comm.reset();
    }
  });
  CHECK(reports.all().find("NcclComm of rank 0: its abort ends when the graphs") !=
        std::string::npos);
  CHECK(reports.all().find("rank 1") == std::string::npos);
}

/// A rank's part of a day with everything in it; true if all of it went well.
bool a_day(const NcclUniqueId& id, int rank) {
  const OwnStream stream;
  const CudaStream s = stream;
  NcclComm<dpgather::NcclMemory> comm(id, rank, 2, options_for_tests());
  const Data<float, dpgather::NcclMemory> window(8, 1, s);
  comm.attach(window.get(), window.bytes());
  comm.all_gather(window.get() + 4 * rank, window.get(), 4, s);
  auto part = comm.split(0, -rank);
  comm.group([&] {
    part.check();
    comm.all_gather_v(window.get() + 2 * rank, window.get(), Sizes{2, 3}, Sizes{0, 2}, s);
  });
  {
    const Captured graph(s, [&] { comm.all_gather(window.get() + 4 * rank, window.get(), 4, s); });
    graph.launch();
    part.all_reduce(window.get(), window.get(), 8, s);
    comm.synchronize(s);
  }
  const bool right = window.read() == Floats(8, 2);
  comm.detach(window.get());
  comm.check();
  return right;
}

TEST_CASE("an error of any call ends in errors and not in a hang, a leak or wrong data") {
  const auto plain_id = NcclUniqueId::create();
  const auto plain =
      on_gpus(2, [&](int rank) { expect(a_day(plain_id, rank), "wrong without any error"); });
  for (int at = 0; at < 2; ++at) {
    const auto& log = plain.ranks[static_cast<std::size_t>(at)].log;
    for (std::size_t call = 1; call < log.size(); ++call) {  // the first is of the harness
      // What is not let go of stays, and so does what it holds: the graph its communicator.
      const std::string_view name = log[call];
      if (name == "ncclMemFree" ||
          (name.find("cuda") == 0 && name.find("Destroy") != std::string_view::npos))
        continue;
      for (const auto code : {ncclUnhandledCudaError, ncclInvalidArgument}) {
        INFO("rank ", at, ", call ", call, " (", std::string(name), "), error ",
             static_cast<int>(code));
        const Reports reports;
        const auto id = NcclUniqueId::create();
        int failed = 0;
        on_gpus(2,
                [&](int rank) {
                  try {
                    expect(a_day(id, rank), "rank ", rank, " has wrong data");
                  } catch (const Error&) {
                    ++failed;
                  }
                },
                {.faults = {{.rank = at, .call = static_cast<std::int64_t>(call), .nccl = code}}});
        CHECK_MESSAGE((failed > 0 || !reports.all().empty()), "nobody was told");
      }
    }
  }
}

TEST_CASE("a rank that stops for good at any call is noticed by the other within the deadline") {
  const auto plain_id = NcclUniqueId::create();
  const auto plain = on_gpus(2, [&](int rank) { a_day(plain_id, rank); });
  const Reports reports;
  for (std::int64_t call = 0; call < plain.ranks[1].calls; ++call) {
    INFO("call ", call, " (", std::string(plain.ranks[1].log[static_cast<std::size_t>(call)]), ")");
    const auto id = NcclUniqueId::create();
    bool ended = false;
    try {
      sim::run({.ranks = 2, .devices = 2, .faults = {{.rank = 1, .call = call, .stops = true}}},
               [&](int rank) {
                 cudaSetDevice(rank);
                 try {
                   a_day(id, rank);
                 } catch (const Error&) {
                 }
                 if (rank == 0) ended = true;
               });
    } catch (const sim::Deadlock& deadlock) {  // of the stopped one's own threads
      CHECK(std::string(deadlock.what()).find("rank 0: has ended") != std::string::npos);
    }
    CHECK(ended);
    CHECK(sim::last_report().virtual_s < 10);
  }
}

}  // namespace
