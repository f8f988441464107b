// Memory of one process in another, each rank being one: what CUDA forbids or leaves undefined is
// refused or reported.
#include <atomic>
#include <string>

#include <cuda.h>
#include <doctest/doctest.h>

#include "sim/kernel.hpp"

namespace {

struct Shared {
  cudaIpcMemHandle_t handle = {};
  int* original = nullptr;
  std::atomic<int> phase{0};
};

void wait_for(const Shared& shared, int phase) {
  REQUIRE(sim::block_until([&] { return shared.phase.load() >= phase; }, [] { return "a phase"; }));
}
void go_on(Shared& shared) {
  const sim::Turn turn;
  ++shared.phase;
  sim::progress();
}
template <class F>
void between(const F& f) {
  const sim::Turn turn;
  f();
}
cudaError_t open_handle(void** out, const cudaIpcMemHandle_t& handle) {
  return cudaIpcOpenMemHandle(out, handle, cudaIpcMemLazyEnablePeerAccess);
}

/// Rank 0 exports 64 ints on device 0; `f(mapped)` is rank 1's, on device 1.
template <class F>
void on_two(const F& f, sim::Options options = {}) {
  options.ranks = 2;
  options.devices = 2;
  Shared shared;
  sim::run(options, [&](int rank) {
    REQUIRE(cudaSetDevice(rank) == cudaSuccess);
    if (rank == 0) {
      void* pointer = nullptr;
      REQUIRE(cudaMalloc(&pointer, 64 * sizeof(int)) == cudaSuccess);
      REQUIRE(cudaIpcGetMemHandle(&shared.handle, pointer) == cudaSuccess);
      shared.original = static_cast<int*>(pointer);
      go_on(shared);
      between([&] { wait_for(shared, 2); });
      CHECK(cudaFree(pointer) == cudaSuccess);
    } else {
      between([&] { wait_for(shared, 1); });
      f(shared);
      go_on(shared);
    }
  });
}

}  // namespace

TEST_SUITE("simulation: memory of other processes") {
  TEST_CASE("a mapping has an address of its own and the same contents") {
    on_two([](Shared& shared) {
      void* mapped = nullptr;
      REQUIRE(open_handle(&mapped, shared.handle) == cudaSuccess);
      CHECK(mapped != shared.original);
      int value = 41;
      CHECK(cudaMemcpy(static_cast<int*>(mapped) + 5, &value, sizeof value, cudaMemcpyDefault) ==
            cudaSuccess);
      value = 0;
      CHECK(cudaMemcpy(&value, shared.original + 5, sizeof value, cudaMemcpyDefault) ==
            cudaSuccess);
      CHECK(value == 41);
      CHECK(cudaMemcpy(static_cast<int*>(mapped) + 60, shared.original, 32, cudaMemcpyDefault) ==
            cudaErrorInvalidValue);  // past the end
      CHECK(cudaIpcCloseMemHandle(mapped) == cudaSuccess);
      CHECK(cudaMemcpy(&value, mapped, sizeof value, cudaMemcpyDefault) == cudaErrorInvalidValue);
    });
    CHECK(sim::last_report().leaks.empty());
  }

  TEST_CASE("a handle that is opened again gives the same address, and is closed as often") {
    on_two([](Shared& shared) {
      void* first = nullptr;
      void* second = nullptr;
      REQUIRE(open_handle(&first, shared.handle) == cudaSuccess);
      REQUIRE(open_handle(&second, shared.handle) == cudaSuccess);
      CHECK(first == second);
      CHECK(cudaIpcCloseMemHandle(first) == cudaSuccess);
      int value = 0;
      CHECK(cudaMemcpy(&value, first, sizeof value, cudaMemcpyDefault) == cudaSuccess);
      CHECK(cudaIpcCloseMemHandle(first) == cudaSuccess);
      CHECK(cudaIpcCloseMemHandle(first) == cudaErrorInvalidValue);
    });
  }

  TEST_CASE("what cannot be exported or opened is refused") {
    sim::run({}, [](int) {
      void* own = nullptr;
      void* pooled = nullptr;
      void* pinned = nullptr;
      void* mapped = nullptr;
      cudaIpcMemHandle_t handle = {};
      REQUIRE(cudaMalloc(&own, 64) == cudaSuccess);
      REQUIRE(cudaMallocAsync(&pooled, 64, nullptr) == cudaSuccess);
      REQUIRE(cudaMallocHost(&pinned, 64) == cudaSuccess);
      CHECK(cudaIpcGetMemHandle(&handle, pooled) == cudaErrorInvalidValue);
      CHECK(cudaIpcGetMemHandle(&handle, pinned) == cudaErrorInvalidValue);
      CHECK(cudaIpcGetMemHandle(&handle, static_cast<char*>(own) + 8) == cudaErrorInvalidValue);
      CHECK(open_handle(&mapped, handle) == cudaErrorInvalidValue);  // no handle
      CHECK(cudaIpcGetMemHandle(&handle, own) == cudaSuccess);
      CHECK(open_handle(&mapped, handle) == cudaErrorDeviceUninitialized);  // the process's own
      CUdeviceptr base = 0;
      std::size_t bytes = 0;
      CHECK(cuMemGetAddressRange(&base, &bytes, reinterpret_cast<CUdeviceptr>(own) + 8) ==
            CUDA_SUCCESS);
      CHECK(base == reinterpret_cast<CUdeviceptr>(own));
      CHECK(bytes == 64);
      CHECK(cudaFree(own) == cudaSuccess);
      CHECK(cudaFreeAsync(pooled, nullptr) == cudaSuccess);
      CHECK(cudaFreeHost(pinned) == cudaSuccess);
    });
    on_two(
        [](Shared& shared) {
          void* mapped = nullptr;
          CHECK(open_handle(&mapped, shared.handle) == cudaErrorMapBufferObjectFailed);
        },
        {.apart = {{1, 0}}});
  }

  TEST_CASE("memory that is freed while it is mapped is a violation, a mapping left open a leak") {
    std::string text;
    try {
      on_two([](Shared& shared) {
        void* mapped = nullptr;
        REQUIRE(open_handle(&mapped, shared.handle) == cudaSuccess);
      });
    } catch (const sim::Violation& error) {
      text = error.what();
    }
    CHECK(text.find("was freed while rank 1 maps it") != std::string::npos);
    REQUIRE(sim::last_report().leaks.size() == 1);
    CHECK(sim::last_report().leaks[0] == "mapping of memory of rank 0 by rank 1");
  }

  TEST_CASE("a device is found by its bus id, and a pair that is apart has no access") {
    sim::run({.devices = 3, .apart = {{0, 2}}}, [](int) {
      for (int device = 0; device < 3; ++device) {
        char id[16] = {};
        int found = -1;
        CHECK(cudaDeviceGetPCIBusId(id, sizeof id, device) == cudaSuccess);
        CHECK(cudaDeviceGetByPCIBusId(&found, id) == cudaSuccess);
        CHECK(found == device);
      }
      int none = 0;
      CHECK(cudaDeviceGetByPCIBusId(&none, "0000:7F:00.0") == cudaErrorInvalidDevice);
      int can = -1;
      CHECK(cudaDeviceCanAccessPeer(&can, 2, 0) == cudaSuccess);
      CHECK(can == 0);
      CHECK(cudaDeviceCanAccessPeer(&can, 1, 0) == cudaSuccess);
      CHECK(can == 1);
      CHECK(cudaDeviceEnablePeerAccess(2, 0) == cudaErrorPeerAccessUnsupported);
    });
  }
}
