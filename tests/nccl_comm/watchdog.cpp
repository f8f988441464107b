// The watchdog: it frees a rank that waits where the library cannot look.
#include "nccl_comm/harness.hpp"

namespace {

using namespace nccl_test;
using dpgather::PeerError;
using Floats = std::vector<float>;

NcclOptions watched() {
  auto options = options_for_tests();
  options.watchdog = true;
  return options;
}

TEST_CASE("a wait of one's own that is overdue is freed, and check says which it was") {
  const auto report = on_comms(
      2,
      [](NcclComm<>& comm, CudaStream stream) {
        const Data<float> one(4, 1, stream);
        if (comm.rank() == 1) {
          std::this_thread::sleep_for(std::chrono::seconds(2));
          return comm.abort("slept");
        }
        comm.all_reduce(one.get(), one.get(), 4, stream);
        {
          const auto guard = comm.guard("end of the step");
          cudaStreamSynchronize(stream.get());
        }
        throws<PeerError>([&] { comm.check(); },
                          {"communicator failed: rank 0: \"end of the step\"", "300 ms"});
      },
      {}, watched());
  CHECK(report.virtual_s > 0.29);
}

TEST_CASE("NCCL's error is noticed while the rank waits without looking") {
  const sim::nccl::WithOptions tells({.remote_errors = true});
  auto options = watched();
  options.deadline = std::chrono::hours(1);
  const auto report = on_comms(
      2,
      [](NcclComm<>& comm, CudaStream stream) {
        const Data<float> one(4, 1, stream);
        comm.all_reduce(one.get(), one.get(), 4, stream);
        comm.synchronize(stream);
        if (comm.rank() == 1) {
          std::this_thread::sleep_for(std::chrono::seconds(1));
          return comm.abort("slept");
        }
        comm.all_reduce(one.get(), one.get(), 4, stream);
        cudaStreamSynchronize(stream.get());
        throws<PeerError>([&] { comm.check(); }, {"communicator failed", "remote process"});
      },
      {}, options);
  CHECK(report.virtual_s < 60);
}

TEST_CASE("waits in time, inner guards and time between guards disturb nobody") {
  on_comms(
      2,
      [](NcclComm<>& comm, CudaStream stream) {
        const Data<float> one(4, 1, stream);
        for (int i = 0; i < 5; ++i) {
          const auto outer = comm.guard("outer");
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
          { const auto inner = comm.guard("inner"); }
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
        std::this_thread::sleep_for(std::chrono::seconds(5));
        comm.all_reduce(one.get(), one.get(), 4, stream);
        comm.synchronize(stream);
        expect(one.read() == Floats(4, 2), "the sum");
      },
      {}, watched());
}

TEST_CASE("an inner guard does not prolong the outer one") {
  on_comms(
      1,
      [](NcclComm<>& comm, CudaStream) {
        const auto outer = comm.guard("outer");
        for (int i = 0; i < 4; ++i) {
          const auto inner = comm.guard("inner");
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
        throws<PeerError>([&] { comm.check(); }, {"\"outer\" did not finish"});
      },
      {}, watched());
}

TEST_CASE("parts are watched as well, and fail with the whole") {
  on_comms(
      2,
      [](NcclComm<>& comm, CudaStream stream) {
        auto part = comm.split(0, 0);
        const Data<float> one(4, 1, stream);
        if (comm.rank() == 1) {
          std::this_thread::sleep_for(std::chrono::seconds(2));
          part.abort("slept"), comm.abort("slept");
          return;
        }
        comm.all_reduce(one.get(), one.get(), 4, stream);
        {
          const auto guard = part.guard("a wait on the part");
          cudaStreamSynchronize(stream.get());  // stuck by the whole
        }
        throws<PeerError>([&] { part.check(); }, {"a wait on the part"});
        throws<PeerError>([&] { comm.check(); }, {"a wait on the part"});
      },
      {}, watched());
}

TEST_CASE("a part may outlive the whole, and is watched still") {
  const auto id = dpgather::NcclUniqueId::create();
  on_gpus(1, [&](int) {
    auto whole = std::make_unique<NcclComm<>>(id, 0, 1, watched());
    auto part = whole->split(0, 0);
    whole.reset();
    const auto guard = part.guard("too long");
    std::this_thread::sleep_for(std::chrono::seconds(1));
    throws<PeerError>([&] { part.check(); }, {"too long"});
  });
}

TEST_CASE("a guard without a watchdog is refused") {
  on_comms(1, [](NcclComm<>& comm, CudaStream) {
    throws<dpgather::InvalidArgument>([&] { static_cast<void>(comm.guard("x")); },
                                      {"guard", "NcclOptions::watchdog"});
  });
}

TEST_CASE("watched communicators under every schedule") {
  on_schedules([](const sim::Options& options) {
    on_comms(
        2,
        [](NcclComm<>& comm, CudaStream stream) {
          const Data<float> one(4, 1, stream);
          for (int i = 0; i < 3; ++i) {
            comm.all_reduce(one.get(), one.get(), 4, stream);
            const auto guard = comm.guard("step");
            stream.synchronize();
          }
          auto part = comm.split(comm.rank(), 0);
          comm.check();
          expect(one.read() == Floats(4, 8), "the sum");
        },
        options, watched());
  });
}

}  // namespace
