// Memory. Sections named are those of the CUDA Runtime API reference and of the CUDA C++ Programming
// Guide (13.0).
#include <cstring>

#include "sim/rules/harness.hpp"

using namespace rules;

namespace {

std::vector<unsigned char> bytes_of(int value, std::size_t n = 256) {
  return std::vector<unsigned char>(n, static_cast<unsigned char>(value));
}

}  // namespace

TEST_SUITE("cuda rules: memory") {
  // Runtime API, Memory Management, cudaMalloc, cudaMemcpy.
  TEST_CASE("what is copied to a device and back is the same") {
    on_one_rank([] {
      const Words words(64);
      const auto sent = bytes_of(7);
      auto received = bytes_of(0);
      ok(cudaMemcpy(words.get(), sent.data(), 256, cudaMemcpyHostToDevice));
      ok(cudaMemcpy(received.data(), words.get(), 256, cudaMemcpyDeviceToHost));
      CHECK(received == sent);
    });
  }

  // Runtime API, Memory Management, cudaMalloc: "suitably aligned"; Programming Guide, Device Memory
  // Accesses: "at least 256 bytes".
  TEST_CASE("an allocation starts at a multiple of 256 bytes") {
    on_one_rank([] {
      const Words a(1), b(3), c(65);
      for (const Words* w : {&a, &b, &c})
        CHECK(reinterpret_cast<std::uintptr_t>(w->get()) % 256 == 0);
    });
  }

  // Runtime API, Memory Management, cudaFree: "If devPtr is 0, no operation is performed".
  TEST_CASE("freeing a null pointer does nothing") {
    on_one_rank([] {
      CHECK(cudaFree(nullptr) == cudaSuccess);
      CHECK(cudaFreeHost(nullptr) == cudaSuccess);
    });
  }

  // Runtime API, Memory Management, cudaMalloc: cudaErrorMemoryAllocation "in case of failure".
  TEST_CASE("more memory than there is gives an error that is not sticky") {
    on_one_rank([] {
      void* pointer = nullptr;
      CHECK(error_of(cudaMalloc(&pointer, std::size_t{1} << 46)) == cudaErrorMemoryAllocation);
      CHECK(cudaGetLastError() == cudaSuccess);
      const Words words(4);
      words.fill(3, nullptr);
      CHECK(words.byte(nullptr) == 3);
    });
  }

  // Runtime API, Memory Management, cudaMemcpyAsync: kind must fit the pointers.
  TEST_CASE("a copy that runs past its allocation is refused") {
    on_one_rank([] {
      const Words a(64), b(64);
      CHECK(error_of(cudaMemcpy(b.get(), a.get(), std::size_t{1} << 40,
                                cudaMemcpyDeviceToDevice)) == cudaErrorInvalidValue);
    });
  }

  // Runtime API, Memory Management, cudaMemcpyAsync with count 0; cudaMemsetAsync likewise.
  TEST_CASE("an empty copy and an empty fill succeed") {
    on_one_rank([] {
      const Stream stream;
      const Words words(4);
      CHECK(cudaMemcpyAsync(words.get(), words.get(), 0, cudaMemcpyDeviceToDevice, stream) ==
            cudaSuccess);
      CHECK(cudaMemsetAsync(words.get(), 1, 0, stream) == cudaSuccess);
      CHECK(words.byte(stream) == 0);
    });
  }

  // Runtime API, API synchronization behavior, Memcpy, Asynchronous: pageable memory to a device is
  // staged before the call returns.
  TEST_CASE("pageable memory may be changed once an asynchronous copy from it has returned") {
    on_one_rank([] {
      const Stream stream;
      const Words words(64);
      auto sent = bytes_of(5);
      ok(cudaMemcpyAsync(words.get(), sent.data(), 256, cudaMemcpyHostToDevice, stream));
      sent = bytes_of(6);
      CHECK(words.byte(stream) == 5);
    });
  }

  // Runtime API, API synchronization behavior, Memcpy, Asynchronous: "For transfers from device
  // memory to pageable host memory, the function will return only once the copy has completed."
  TEST_CASE("a copy to pageable memory is complete when it returns") {
    on_one_rank([] {
      const Stream stream;
      const Words words(64);
      words.fill(9, stream);
      auto received = bytes_of(0);
      ok(cudaMemcpyAsync(received.data(), words.get(), 256, cudaMemcpyDeviceToHost, stream));
      CHECK(received == bytes_of(9));
    });
  }

  // Runtime API, API synchronization behavior, Memcpy, Synchronous.
  TEST_CASE("a synchronous copy to the host waits for work of the default stream before it") {
    on_one_rank([] {
      const Words words(64);
      words.fill(4, nullptr);
      auto received = bytes_of(0);
      ok(cudaMemcpy(received.data(), words.get(), 256, cudaMemcpyDeviceToHost));
      CHECK(received == bytes_of(4));
    });
  }

  // Runtime API, Memory Management, cudaMemcpy2DAsync.
  TEST_CASE("a two-dimensional copy moves rows and leaves what is between them") {
    on_one_rank([] {
      const Stream stream;
      const Words wide(64), narrow(16);  // 4 rows of 64 and of 16 bytes
      narrow.fill(8, stream);
      ok(cudaMemcpy2DAsync(wide.get(), 64, narrow.get(), 16, 16, 4, cudaMemcpyDeviceToDevice,
                           stream));
      auto received = bytes_of(1);
      ok(cudaMemcpyAsync(received.data(), wide.get(), 256, cudaMemcpyDeviceToHost, stream));
      stream.sync();
      int wrong = 0;
      for (std::size_t i = 0; i < 256; ++i) wrong += received[i] != (i % 64 < 16 ? 8 : 0);
      CHECK(wrong == 0);
      CHECK(error_of(cudaMemcpy2DAsync(wide.get(), 8, narrow.get(), 16, 16, 4,
                                       cudaMemcpyDeviceToDevice, stream)) ==
            cudaErrorInvalidPitchValue);
    });
  }

  // Runtime API, Stream Ordered Memory Allocator, cudaMallocAsync and cudaFreeAsync.
  TEST_CASE("memory allocated in stream order can be used there until it is freed there") {
    on_one_rank([] {
      const Stream stream;
      const Words kept(64);
      for (int value = 1; value < 4; ++value) {
        void* pointer = nullptr;
        ok(cudaMallocAsync(&pointer, 256, stream));
        ok(cudaMemsetAsync(pointer, value, 256, stream));
        ok(cudaMemcpyAsync(kept.get(), pointer, 256, cudaMemcpyDeviceToDevice, stream));
        ok(cudaFreeAsync(pointer, stream));
        CHECK(kept.byte(stream) == value);
      }
    });
  }

  // Programming Guide, Stream Ordered Memory Allocator: cudaFree of it synchronises nothing, but may
  // be used once all accesses are complete.
  TEST_CASE("memory allocated in stream order may be freed by cudaFree after a synchronisation") {
    on_one_rank([] {
      const Stream stream;
      void* pointer = nullptr;
      ok(cudaMallocAsync(&pointer, 256, stream));
      ok(cudaMemsetAsync(pointer, 1, 256, stream));
      stream.sync();
      CHECK(cudaFree(pointer) == cudaSuccess);
    });
  }

  // Programming Guide, Stream Ordered Memory Allocator, API Fundamentals: cudaFree of other memory
  // "guarantees" that work on it is complete.
  TEST_CASE("cudaFree waits for work that uses the memory") {
    on_one_rank([] {
      const Stream stream;
      const Words kept(64);
      void* pointer = nullptr;
      ok(cudaMalloc(&pointer, 256));
      ok(cudaMemsetAsync(pointer, 6, 256, stream));
      ok(cudaMemcpyAsync(kept.get(), pointer, 256, cudaMemcpyDeviceToDevice, stream));
      ok(cudaFree(pointer));
      CHECK(kept.byte(stream) == 6);
    });
  }

  // Runtime API, Unified Addressing, cudaPointerGetAttributes.
  TEST_CASE("the kind of a pointer can be asked for") {
    on_one_rank([] {
      const Words words(4);
      const Pinned pinned(0);
      int of_host = 0;
      cudaPointerAttributes attributes{};
      ok(cudaPointerGetAttributes(&attributes, words.get() + 1));
      CHECK(attributes.type == cudaMemoryTypeDevice);
      CHECK(attributes.device == 0);
      ok(cudaPointerGetAttributes(&attributes, pinned.get()));
      CHECK(attributes.type == cudaMemoryTypeHost);
      ok(cudaPointerGetAttributes(&attributes, &of_host));
      CHECK(attributes.type == cudaMemoryTypeUnregistered);
    });
  }

  // Runtime API, Memory Management, cudaMemGetInfo.
  TEST_CASE("free memory is at most all of it, and less once some is taken") {
    on_one_rank([] {
      std::size_t free = 0, total = 0, later = 0;
      ok(cudaMemGetInfo(&free, &total));
      CHECK(free <= total);
      const Words words(std::size_t{16} << 20);
      ok(cudaMemGetInfo(&later, &total));
      CHECK(later < free);
    });
  }

  // Runtime API, Memory Management, cudaHostAlloc; API synchronization behavior.
  TEST_CASE("a copy into pinned memory is there after the stream is synchronised") {
    on_one_rank([] {
      const Stream stream;
      const Words words(1);
      const Pinned pinned(0);
      words.fill(2, stream);
      ok(cudaMemcpyAsync(pinned.get(), words.get(), 4, cudaMemcpyDeviceToHost, stream));
      stream.sync();
      CHECK(pinned.load() == 0x02020202);
    });
  }
}
