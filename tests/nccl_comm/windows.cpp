// Windows, and the memory that they are made of.
#include <dpgather/dp_gather.hpp>

#include "nccl_comm/harness.hpp"

namespace {

using namespace nccl_test;
using dpgather::NcclMemory;
using Comm = NcclComm<NcclMemory>;
using Window = Data<float, NcclMemory>;
using Floats = std::vector<float>;

TEST_CASE("memory of NCCL is device memory that is given back") {
  on_gpus(1, [](int) {
    const OwnStream stream;
    const Window data(5, 3, stream);
    expect(data.read() == Floats(5, 3), "what was written");
    dpgather::Buffer<float, NcclMemory> buffer(7);
    NcclMemory::zero(buffer.data(), 28);
    Floats host(7, 1);
    test::download(static_cast<const float*>(buffer.data()), std::span<float>(host),
                   CudaStream(stream));
    expect(host == Floats(7, 0), "what was zeroed");
    throws<dpgather::NcclError>(
        [] { static_cast<void>(NcclMemory::allocate(std::size_t{1} << 50)); },
        {"ncclMemAlloc failed"});
  });
}

TEST_CASE("memory that NCCL does not know is reported, not thrown, when freed") {
  const Reports reports;
  on_gpus(1, [](int) {
    static float x = 0;
    NcclMemory::deallocate(&x);
  });
  CHECK(reports.all().find("ncclMemFree failed") != std::string::npos);
}

TEST_CASE("attached buffers are windows until they are detached or the communicator goes") {
  on_schedules([](const sim::Options& options) {
    on_comms<Comm>(
        2,
        [](Comm& comm, CudaStream stream) {
          const Window a(8, 1, stream), b(8, 2, stream);
          expect(comm.attach(a.get(), a.bytes()), "a is no window");
          expect(comm.attach(b.get(), b.bytes()), "b is no window");
          comm.all_gather(a.get() + 4 * comm.rank(), a.get(), 4, stream);
          comm.synchronize(stream);
          comm.detach(a.get());
          comm.detach(a.get());  // nothing to do
          expect(comm.attach(a.get(), a.bytes()), "a is no window again");
          comm.detach(a.get());
        },
        options);
    for (const auto& left : sim::nccl::left_over()) FAIL_CHECK(left);
  });
}

TEST_CASE("where NCCL cannot map peers attach says so, and all works") {
  const sim::nccl::WithOptions none({.windows = false});
  on_comms<Comm>(2, [](Comm& comm, CudaStream stream) {
    const Window a(8, 1, stream);
    expect(!comm.attach(a.get(), a.bytes()), "it is a window");
    comm.all_reduce(a.get(), a.get(), 8, stream);
    comm.synchronize(stream);
    expect(a.read() == Floats(8, 2), "the sum");
    comm.detach(a.get());
  });
}

TEST_CASE("wrong buffers are refused before peers are waited for") {
  on_comms<Comm>(2, [](Comm& comm, CudaStream stream) {
    const Window a(8, 1, stream);
    const Data<float> other(8, 1, stream);
    using dpgather::InvalidArgument;
    throws<InvalidArgument>([&] { comm.attach(nullptr, 4); }, {"attach", "null"});
    throws<InvalidArgument>([&] { comm.attach(a.get(), 0); }, {"0 bytes"});
    throws<dpgather::NcclError>([&] { comm.attach(other.get(), other.bytes()); },
                                {"attach", "ncclCommWindowRegister", "invalid argument"});
    expect(comm.attach(a.get(), a.bytes()), "no window");
    throws<InvalidArgument>([&] { comm.attach(a.get(), a.bytes()); }, {"attached already"});
    comm.check();
  });
}

TEST_CASE("a buffer that NCCL refused may be attached later on") {
  on_comms<Comm>(1, [](Comm& comm, CudaStream stream) {
    const Window a(8, 1, stream);
    throws<dpgather::NcclError>([&] { comm.attach(a.get(), a.bytes() * 100000); }, {"attach"});
    expect(comm.attach(a.get(), a.bytes()), "no window");
  });
}

TEST_CASE("after a failure detach is silent and attach is an error") {
  const Reports reports;
  on_comms<Comm>(2, [](Comm& comm, CudaStream stream) {
    const Window a(8, 1, stream), b(8, 1, stream);
    comm.attach(a.get(), a.bytes());
    comm.abort("enough");
    comm.detach(a.get());
    throws<dpgather::PeerError>([&] { comm.attach(b.get(), b.bytes()); }, {"enough"});
  });
  CHECK(reports.all() == "");
}

TEST_CASE("a rank that does not attach is an error past the deadline") {
  on_comms<Comm>(2, [](Comm& comm, CudaStream stream) {
    const Window a(8, 1, stream);
    if (comm.rank() == 0)
      throws<dpgather::TimeoutError>([&] { comm.attach(a.get(), a.bytes()); },
                                     {"ncclCommWindowRegister", "300 ms"});
    else
      comm.abort("does not attach");
  });
}

TEST_CASE("a gather attaches its buffers, and takes them back") {
  on_comms<Comm>(2, [](Comm& comm, CudaStream) {
    const dpgather::DpGather<dpgather::MaxLen, float, Comm> gather(
        comm, {.layout = {.dp = 2}, .hidden = 4, .max_local_rows = 3});
  });
  for (const auto& left : sim::nccl::left_over()) FAIL_CHECK(left);
}

template <class C>
constexpr bool has_windows = requires(C& comm, void* data) {
  comm.attach(data, std::size_t{4}), comm.detach(data);
};
static_assert(has_windows<Comm> && !has_windows<NcclComm<>>, "windows are NcclMemory's");

}  // namespace
