// Streams and events. Sections named are those of the CUDA Runtime API reference and of the CUDA C++
// Programming Guide (13.0).
#include "sim/rules/harness.hpp"

using namespace rules;

TEST_SUITE("cuda rules: streams and events") {
  // Programming Guide, Asynchronous Concurrent Execution, Streams: "a sequence of commands that
  // execute in order".
  TEST_CASE("work of one stream runs in order") {
    on_one_rank([] {
      const Stream stream;
      const Words a(64), b(64);
      for (int value = 1; value <= 3; ++value) {
        a.fill(value, stream);
        a.copy_to(b, stream);
      }
      a.fill(9, stream);
      CHECK(b.byte(stream) == 3);
    });
  }

  // Runtime API, Stream Management, cudaStreamWaitEvent.
  TEST_CASE("work after a wait on an event comes after what the event marks") {
    on_one_rank([] {
      const Stream first, second;
      const Event event;
      const Words a(1024), b(1024);
      a.fill(5, first);
      ok(cudaEventRecord(event, first));
      ok(cudaStreamWaitEvent(second, event, 0));
      a.copy_to(b, second);
      CHECK(b.byte(second) == 5);
    });
  }

  // Runtime API, Event Management, cudaEventRecord: "Before the first call to cudaEventRecord(), an
  // event represents an empty set of work".
  TEST_CASE("an event that was never recorded is done, and no wait for it waits") {
    on_one_rank([] {
      const Stream stream;
      const Event event;
      CHECK(cudaEventQuery(event) == cudaSuccess);
      CHECK(cudaEventSynchronize(event) == cudaSuccess);
      CHECK(cudaStreamWaitEvent(stream, event, 0) == cudaSuccess);
      stream.sync();
    });
  }

  // Runtime API, Event Management, cudaEventRecord: "will overwrite the previously captured state".
  TEST_CASE("an event recorded anew marks the later work") {
    on_one_rank([] {
      const Stream first, second;
      const Event event;
      const Words a(1024), b(1024);
      ok(cudaEventRecord(event, first));
      a.fill(6, first);
      ok(cudaEventRecord(event, first));
      ok(cudaStreamWaitEvent(second, event, 0));
      a.copy_to(b, second);
      CHECK(b.byte(second) == 6);
    });
  }

  // Runtime API, Event Management, cudaEventSynchronize, cudaEventQuery.
  TEST_CASE("an event is done once it was waited for") {
    on_one_rank([] {
      const Stream stream;
      const Event event;
      const Pinned pinned(0);
      const Words words(1);
      words.fill(3, stream);
      ok(cudaMemcpyAsync(pinned.get(), words.get(), 4, cudaMemcpyDeviceToHost, stream));
      ok(cudaEventRecord(event, stream));
      ok(cudaEventSynchronize(event));
      CHECK(pinned.load() == 0x03030303);
      CHECK(cudaEventQuery(event) == cudaSuccess);
    });
  }

  // Runtime API, Event Management, cudaEventQuery; Stream Management, cudaStreamQuery:
  // cudaErrorNotReady until all is done. Error Handling, cudaGetLastError.
  TEST_CASE("polling ends, and only ever says not ready or done") {
    on_one_rank([] {
      const Stream stream;
      const Event event;
      const Words words(std::size_t{1} << 16);
      words.fill(3, stream);
      ok(cudaEventRecord(event, stream));
      cudaError_t state = cudaErrorNotReady;
      while (state == cudaErrorNotReady) state = cudaEventQuery(event);
      CHECK(state == cudaSuccess);
      state = cudaErrorNotReady;
      while (state == cudaErrorNotReady) state = cudaStreamQuery(stream);
      CHECK(state == cudaSuccess);
      static_cast<void>(cudaGetLastError());  // "not ready" counts as an error there
      CHECK(cudaGetLastError() == cudaSuccess);
    });
  }

  // Programming Guide, Default Stream; Runtime API, Stream synchronization behavior, Legacy default
  // stream.
  TEST_CASE("the default stream waits for blocking streams, and they for it") {
    on_one_rank([] {
      const Stream blocking(cudaStreamDefault);
      const Words a(4096), b(4096), c(4096);
      a.fill(7, blocking);
      a.copy_to(b, nullptr);
      b.copy_to(c, blocking);
      CHECK(c.byte(blocking) == 7);
    });
  }

  // Runtime API, Stream synchronization behavior: two blocking streams are ordered by work of the
  // default stream between them.
  TEST_CASE("work of the default stream orders what is before and after it in other streams") {
    on_one_rank([] {
      const Stream first(cudaStreamDefault), second(cudaStreamDefault);
      const Words a(4096), b(4096), other(4);
      a.fill(8, first);
      other.fill(1, nullptr);
      a.copy_to(b, second);
      CHECK(b.byte(second) == 8);
    });
  }

  // Runtime API, Stream synchronization behavior, Per-thread default stream: it "is not an implicit
  // synchronizing stream" but is one that waits for and holds up the legacy stream.
  TEST_CASE("the per-thread default stream is a blocking stream of the thread") {
    on_ranks(2, [](int rank) {
      const Words a(4096), b(4096);
      a.fill(rank + 1, cudaStreamPerThread);
      a.copy_to(b, nullptr);
      CHECK(b.byte(cudaStreamPerThread) == rank + 1);
    });
  }

  // Runtime API, Stream Management, cudaStreamSynchronize on the default stream.
  TEST_CASE("a synchronisation of the default stream waits for blocking streams") {
    on_one_rank([] {
      const Stream blocking(cudaStreamDefault);
      const Words words(1);
      const Pinned pinned(0);
      words.fill(1, blocking);
      ok(cudaMemcpyAsync(pinned.get(), words.get(), 4, cudaMemcpyDeviceToHost, blocking));
      ok(cudaStreamSynchronize(nullptr));
      CHECK(pinned.load() == 0x01010101);
    });
  }

  // Runtime API, Device Management, cudaDeviceSynchronize.
  TEST_CASE("a synchronisation of the device waits for every stream") {
    on_one_rank([] {
      const Stream first, second;
      const Words a(1), b(1);
      const Pinned of_a(0), of_b(0);
      a.fill(1, first);
      b.fill(2, second);
      ok(cudaMemcpyAsync(of_a.get(), a.get(), 4, cudaMemcpyDeviceToHost, first));
      ok(cudaMemcpyAsync(of_b.get(), b.get(), 4, cudaMemcpyDeviceToHost, second));
      ok(cudaDeviceSynchronize());
      CHECK(of_a.load() == 0x01010101);
      CHECK(of_b.load() == 0x02020202);
    });
  }

  // Runtime API, Stream Management, cudaStreamDestroy: with work left "the function will return
  // immediately and the resources ... released automatically once the device has completed".
  TEST_CASE("work of a stream that was destroyed is still done") {
    on_one_rank([] {
      const Words words(64);
      cudaStream_t stream = nullptr;
      ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      words.fill(4, stream);
      ok(cudaStreamDestroy(stream));
      ok(cudaDeviceSynchronize());
      CHECK(words.byte(nullptr) == 4);
    });
  }

  // Runtime API, Event Management, cudaEventDestroy: before it is complete "does not block", and
  // waits for it made earlier hold.
  TEST_CASE("a wait stays when its event is destroyed") {
    on_one_rank([] {
      const Stream first, second;
      const Words a(4096), b(4096);
      a.fill(5, first);
      cudaEvent_t event = nullptr;
      ok(cudaEventCreate(&event));
      ok(cudaEventRecord(event, first));
      ok(cudaStreamWaitEvent(second, event, 0));
      ok(cudaEventDestroy(event));
      a.copy_to(b, second);
      CHECK(b.byte(second) == 5);
    });
  }

  // Runtime API, Execution Control, cudaLaunchHostFunc.
  TEST_CASE("a host function runs in stream order, and work after it waits for it") {
    on_one_rank([] {
      const Stream stream;
      const Words words(1);
      const Pinned source(0), seen(0);
      struct Data {
        const Pinned* source;
        const Pinned* seen;
      } data{&source, &seen};
      words.fill(1, stream);
      ok(cudaMemcpyAsync(seen.get(), words.get(), 4, cudaMemcpyDeviceToHost, stream));
      ok(cudaLaunchHostFunc(
          stream,
          [](void* raw) {
            const auto* const d = static_cast<const Data*>(raw);
            d->source->store(d->seen->load() + 1);
          },
          &data));
      ok(cudaMemcpyAsync(words.get(), source.get(), 4, cudaMemcpyHostToDevice, stream));
      ok(cudaMemcpyAsync(seen.get(), words.get(), 4, cudaMemcpyDeviceToHost, stream));
      stream.sync();
      CHECK(seen.load() == 0x01010102);
    });
  }

  // Runtime API, Execution Control, cudaLaunchHostFunc: "must not make any CUDA API calls.
  // Attempting to use a CUDA API may result in cudaErrorNotPermitted". Only "may": no check of it.

  // Programming Guide, Multi-Device System, Stream and Event Behavior; threads share a context.
  TEST_CASE("an event orders streams of two threads") {
    on_ranks(2, [](int rank) {
      static cudaEvent_t event = nullptr;
      static const Words* words = nullptr;
      static std::barrier meeting(2);
      const Stream stream;
      const Words mine(1024);
      if (rank == 0) {
        ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
        words = &mine;
        mine.fill(9, stream);
        ok(cudaEventRecord(event, stream));
      }
      meeting.arrive_and_wait();  // recorded, then waited for
      if (rank == 1) {
        ok(cudaStreamWaitEvent(stream, event, 0));
        words->copy_to(mine, stream);
        CHECK(mine.byte(stream) == 9);
      }
      meeting.arrive_and_wait();
      if (rank == 0) ok(cudaEventDestroy(event));
    });
  }

  // Runtime API, Stream Management, cudaStreamGetFlags, cudaStreamGetPriority.
  TEST_CASE("a stream knows how it was made") {
    on_one_rank([] {
      const Stream blocking(cudaStreamDefault), free;
      unsigned flags = 99;
      ok(cudaStreamGetFlags(blocking, &flags));
      CHECK(flags == cudaStreamDefault);
      ok(cudaStreamGetFlags(free, &flags));
      CHECK(flags == cudaStreamNonBlocking);
    });
  }

  // Runtime API, Event Management, cudaEventElapsedTime.
  TEST_CASE("the time between two events needs both done, and made for timing") {
    on_one_rank([] {
      const Stream stream;
      const Event untimed;
      cudaEvent_t a = nullptr, b = nullptr;
      float ms = -1;
      ok(cudaEventCreate(&a));
      ok(cudaEventCreate(&b));
      ok(cudaEventRecord(a, stream));
      ok(cudaEventRecord(b, stream));
      ok(cudaEventRecord(untimed, stream));
      stream.sync();
      ok(cudaEventElapsedTime(&ms, a, b));
      CHECK(ms >= 0);
      CHECK(error_of(cudaEventElapsedTime(&ms, a, untimed)) == cudaErrorInvalidResourceHandle);
      ok(cudaEventDestroy(a));
      ok(cudaEventDestroy(b));
    });
  }
}
