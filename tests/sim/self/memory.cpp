// Misuse of memory that hardware may forgive and the simulation does not.
#include <cmath>
#include <csignal>
#include <cstring>
#include <string>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/kernel.hpp"

namespace {

template <class T>
T* allocate(std::size_t n) {
  void* pointer = nullptr;
  REQUIRE(cudaMalloc(&pointer, n * sizeof(T)) == cudaSuccess);
  return static_cast<T*>(pointer);
}

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

template <class F>
std::string violation_of(F f, std::uint64_t seed = 1) {
  try {
    sim::run({.seed = seed}, [&](int) { f(); });
  } catch (const sim::Violation& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("simulation: memory") {
  TEST_CASE("fresh memory holds NaN in every float format") {
    sim::run({}, [](int) {
      auto* const d = allocate<float>(4);
      float host[4] = {};
      CHECK(cudaMemcpy(host, d, sizeof host, cudaMemcpyDeviceToHost) == cudaSuccess);
      for (const float value : host) CHECK(std::isnan(value));
      CHECK(cudaFree(d) == cudaSuccess);
    });
  }

  // Under AddressSanitizer such a write ends the program at once.
#if !defined(__SANITIZE_ADDRESS__)
  TEST_CASE("a kernel that writes beside its memory is found") {
    CHECK(contains(violation_of([] {
                     auto* const d = allocate<char>(60);
                     sim::launch_kernel(nullptr, "k", 61, [d](std::int64_t row) { d[row] = 1; });
                     CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
                   }),
                   "written past the end of allocation"));
    CHECK(contains(violation_of([] {
                     auto* const d = allocate<char>(60);
                     sim::launch_kernel(nullptr, "k", 1, [d](std::int64_t row) { d[row - 1] = 1; });
                     CHECK(cudaFree(d) == cudaSuccess);
                   }),
                   "written before the start of allocation"));
  }
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  TEST_CASE("host code that touches device memory ends the program, and says whose it is") {
    int ends[2] = {};
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
      std::signal(SIGABRT, SIG_DFL);
      dup2(ends[1], 2);
      void* d = nullptr;
      static_cast<void>(cudaMalloc(&d, 60));
      static_cast<volatile char*>(d)[3] = 1;
      _exit(0);
    }
    close(ends[1]);
    std::string said;
    char text[256];
    for (ssize_t n = 0; (n = read(ends[0], text, sizeof text)) > 0;)
      said.append(text, static_cast<std::size_t>(n));
    close(ends[0]);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(contains(said, "touched device memory: allocation"));
    CHECK(contains(said, "(60 bytes, device 0), at byte 3"));
  }
#endif

  TEST_CASE("a run may ask for device memory that host code can touch") {
    sim::run({.guard_device_memory = false}, [](int) {
      auto* const d = allocate<volatile char>(4);
      d[0] = 1;
      CHECK(d[0] == 1);
      CHECK(cudaFree(const_cast<char*>(d)) == cudaSuccess);
    });
  }

  TEST_CASE("a copy of memory that was freed in stream order is found") {
    CHECK(contains(violation_of([] {
                     const cudaStream_t stream = new_stream();
                     void* d = nullptr;
                     CHECK(cudaMallocAsync(&d, 64, stream) == cudaSuccess);
                     auto* const other = allocate<char>(64);
                     CHECK(cudaFreeAsync(d, stream) == cudaSuccess);
                     CHECK(cudaMemcpyAsync(other, d, 64, cudaMemcpyDeviceToDevice, stream) ==
                           cudaSuccess);
                     CHECK(cudaStreamSynchronize(stream) == cudaErrorIllegalAddress);
                   }),
                   "freed allocation"));
  }

  TEST_CASE("memory used in another stream before it is allocated is found by some schedule") {
    int found = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
      found += violation_of(
                   [] {
                     const cudaStream_t a = new_stream(), b = new_stream();
                     void* first = allocate<char>(64);
                     void* d = nullptr;
                     CHECK(cudaMemsetAsync(first, 1, 64, a) == cudaSuccess);
                     CHECK(cudaMallocAsync(&d, 64, a) == cudaSuccess);
                     CHECK(cudaMemsetAsync(d, 1, 64, b) == cudaSuccess);
                     static_cast<void>(cudaDeviceSynchronize());
                   },
                   seed)
                       .empty()
                   ? 0
                   : 1;
    CHECK(found > 0);
    CHECK(found < 20);
  }

  TEST_CASE("pointers of the wrong space are refused") {
    sim::run({}, [](int) {
      auto* const d = allocate<char>(64);
      char host[64] = {};
      CHECK(cudaMemcpy(d, d, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
      CHECK(cudaMemcpy(host, host, 64, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
      CHECK(cudaMemcpy(d + 1, host, 64, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
      CHECK(cudaMemset(host, 0, 64) == cudaErrorInvalidValue);
      CHECK(cudaMemset(d + 64, 0, 1) == cudaErrorInvalidValue);
      CHECK(cudaFree(d + 1) == cudaErrorInvalidValue);
      CHECK(cudaFreeHost(d) == cudaErrorInvalidValue);
      CHECK(cudaFree(d) == cudaSuccess);
      CHECK(cudaFree(d) == cudaErrorInvalidValue);
    });
  }

  TEST_CASE("a device has as much memory as was asked for") {
    sim::run({.devices = 2, .device_bytes = 1000}, [](int) {
      auto* const d = allocate<char>(900);
      void* more = nullptr;
      CHECK(cudaMalloc(&more, 101) == cudaErrorMemoryAllocation);
      CHECK(cudaSetDevice(1) == cudaSuccess);
      CHECK(cudaMalloc(&more, 101) == cudaSuccess);
      CHECK(cudaFree(d) == cudaSuccess);
      CHECK(cudaFree(more) == cudaSuccess);
    });
  }
}
