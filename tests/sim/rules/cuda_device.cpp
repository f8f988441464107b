// Devices and errors. Sections named are those of the CUDA Runtime API reference (13.0).
#include <cstring>

#include "sim/rules/harness.hpp"

using namespace rules;

TEST_SUITE("cuda rules: devices and errors") {
  // Runtime API, Device Management, cudaGetDeviceCount, cudaSetDevice, cudaGetDevice.
  TEST_CASE("each thread has a current device, one of those that exist") {
    on_ranks(2, [](int) {
      int number = 0, device = -1;
      ok(cudaGetDeviceCount(&number));
      CHECK(number >= 1);
      ok(cudaSetDevice(number - 1));
      ok(cudaGetDevice(&device));
      CHECK(device == number - 1);
      CHECK(error_of(cudaSetDevice(number)) == cudaErrorInvalidDevice);
      CHECK(error_of(cudaSetDevice(-1)) == cudaErrorInvalidDevice);
      ok(cudaGetDevice(&device));
      CHECK(device == number - 1);
    });
  }

  // Runtime API, Error Handling, cudaGetLastError, cudaPeekAtLastError.
  TEST_CASE("the last error of a thread stays until it is fetched") {
    on_ranks(2, [](int rank) {
      if (rank == 1) {
        CHECK(cudaGetLastError() == cudaSuccess);
        return;
      }
      static_cast<void>(cudaSetDevice(-1));
      const Event event;  // a success does not clear it
      CHECK(cudaPeekAtLastError() == cudaErrorInvalidDevice);
      CHECK(cudaGetLastError() == cudaErrorInvalidDevice);
      CHECK(cudaGetLastError() == cudaSuccess);
    });
  }

  // Runtime API, Error Handling, cudaGetErrorName, cudaGetErrorString.
  TEST_CASE("errors have names") {
    CHECK(std::string(cudaGetErrorName(cudaErrorMemoryAllocation)) == "cudaErrorMemoryAllocation");
    CHECK(std::string(cudaGetErrorName(cudaErrorStreamCaptureInvalidated)) ==
          "cudaErrorStreamCaptureInvalidated");
    CHECK(std::strlen(cudaGetErrorString(cudaErrorInvalidValue)) > 0);
  }

  // Runtime API, Version Management.
  TEST_CASE("the driver is as new as the run-time, or newer") {
    int runtime = 0, driver = 0;
    ok(cudaRuntimeGetVersion(&runtime));
    ok(cudaDriverGetVersion(&driver));
    CHECK(runtime >= 12000);
    CHECK(driver / 1000 >= runtime / 1000);
  }

  // Runtime API, Peer Device Memory Access, cudaDeviceCanAccessPeer: a device is no peer of itself.
  TEST_CASE("a device is not its own peer") {
    on_one_rank([] {
      int can = 1;
      ok(cudaDeviceCanAccessPeer(&can, 0, 0));
      CHECK(can == 0);
      CHECK(error_of(cudaDeviceEnablePeerAccess(0, 0)) == cudaErrorInvalidDevice);
    });
  }

  // Runtime API, Device Management, cudaDeviceGetAttribute.
  TEST_CASE("a device tells what it is") {
    on_one_rank([] {
      int value = 0;
      ok(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 0));
      CHECK(value == 32);
      ok(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0));
      CHECK(value >= 7);
      ok(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
      CHECK(value >= 1);
    });
  }
}
