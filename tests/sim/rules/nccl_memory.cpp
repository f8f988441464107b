// Memory and registrations. NCCL user guide, "User Buffer Registration" and the functions
// ncclMemAlloc, ncclCommRegister, ncclCommWindowRegister.
#include <doctest/doctest.h>

#include "sim/rules/nccl_harness.hpp"

namespace {

using namespace rules;

constexpr int ranks = 2;

bool older_than(int version) {
  int here = 0;
  good(ncclGetVersion(&here));
  return here < version;
}

/// Floats of ncclMemAlloc.
struct Memory {
  float* data = nullptr;
  std::size_t size;

  Memory(std::size_t count, float element) : size(count) {
    good(ncclMemAlloc(reinterpret_cast<void**>(&data), bytes()));
    const std::vector<float> host(count, element);
    good(cudaMemcpy(data, host.data(), bytes(), cudaMemcpyHostToDevice));
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { static_cast<void>(ncclMemFree(data)); }
  [[nodiscard]] std::size_t bytes() const { return size * sizeof(float); }
  [[nodiscard]] std::vector<float> on_host(cudaStream_t stream) const {
    std::vector<float> host(size);
    good(cudaMemcpyAsync(host.data(), data, bytes(), cudaMemcpyDeviceToHost, stream));
    good(cudaStreamSynchronize(stream));
    return host;
  }
};

TEST_SUITE("nccl rules: memory") {
  // NCCL guide, User Buffer Registration, Memory Allocator.
  TEST_CASE("memory of ncclMemAlloc is device memory") {
    if (older_than(21900)) return;
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Memory memory(1000, 1.0f);
      good(ncclAllReduce(memory.data, memory.data, memory.size, ncclFloat, ncclSum, comm,
                         gpu.stream));
      expect_equal(memory.on_host(gpu.stream),
                   std::vector<float>(1000, static_cast<float>(gpu.size)), "sum");
      good(ncclMemFree(nullptr));
      expect(ncclMemAlloc(nullptr, 4), ncclInvalidArgument, "no place for the pointer");
    });
  }

  // NCCL guide, User Buffer Registration, ncclCommRegister.
  TEST_CASE("a buffer is registered and taken back") {
    if (older_than(21900)) return;
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Memory memory(1000, 1.0f);
      void* handle = nullptr;
      good(ncclCommRegister(comm, memory.data, memory.bytes(), &handle));
      good(ncclAllReduce(memory.data, memory.data, memory.size, ncclFloat, ncclSum, comm,
                         gpu.stream));
      gpu.wait();
      good(ncclCommDeregister(comm, handle));
    });
  }

  // NCCL guide, ncclCommWindowRegister: called by all ranks; a null window means that there is no
  // support, and operations work on the buffers all the same.
  TEST_CASE("operations on windows do what they do elsewhere") {
    if (older_than(22700)) return;
    on_gpus(ranks, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Memory from(256, static_cast<float>(gpu.rank)), to(256 * 2, -1.0f);
      ncclWindow_t in = nullptr, out = nullptr;
      good(ncclCommWindowRegister(comm, from.data, from.bytes(), &in, NCCL_WIN_COLL_SYMMETRIC));
      good(ncclCommWindowRegister(comm, to.data, to.bytes(), &out, NCCL_WIN_COLL_SYMMETRIC));
      good(ncclAllGather(from.data, to.data, 256, ncclFloat, comm, gpu.stream));
      std::vector<float> want(256, 0.0f);
      want.resize(512, 1.0f);
      expect_equal(to.on_host(gpu.stream), want, "gathered");
      for (const ncclWindow_t window : {in, out})
        if (window != nullptr) good(ncclCommWindowDeregister(comm, window));
    });
  }

  // NCCL guide, ncclCommWindowRegister: the handle is there once the communicator has settled.
  TEST_CASE("windows of a non-blocking communicator are polled") {
    if (older_than(22700)) return;
    on_gpus(ranks, [](const Gpu& gpu) {
      const NonBlocking comm(gpu);
      const Memory memory(256, 1.0f);
      ncclWindow_t window = nullptr;
      comm.done(ncclCommWindowRegister(comm, memory.data, memory.bytes(), &window,
                                       NCCL_WIN_COLL_SYMMETRIC));
      if (window != nullptr) comm.done(ncclCommWindowDeregister(comm, window));
    });
  }

  // NCCL sources, dev_runtime.cc: null handles and empty buffers are invalid arguments.
  TEST_CASE("a window needs a place for its handle and a size") {
    if (older_than(22700)) return;
    on_gpus(1, [](const Gpu& gpu) {
      const Comm comm(gpu);
      const Memory memory(16, 1.0f);
      ncclWindow_t window = nullptr;
      expect(ncclCommWindowRegister(comm, memory.data, memory.bytes(), nullptr, 0),
             ncclInvalidArgument, "no place");
      expect(ncclCommWindowRegister(comm, memory.data, 0, &window, 0), ncclInvalidArgument,
             "size 0");
    });
  }
}

}  // namespace
