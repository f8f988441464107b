// Stream capture. Sections named are those of the CUDA Runtime API reference and of the CUDA C++
// Programming Guide (13.0), where "Capture" is CUDA Graphs, Creating a Graph Using Stream Capture.
#include "sim/rules/harness.hpp"

using namespace rules;

namespace {

constexpr auto thread_local_mode = cudaStreamCaptureModeThreadLocal;

cudaStreamCaptureStatus status_of(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  ok(cudaStreamIsCapturing(stream, &status));
  return status;
}

/// `f()` is expected to break a capture of `stream`: the end of it gives `end` and no graph, and the
/// stream can be used and captured again.
template <class F>
void breaks(cudaStream_t stream, F f, cudaStreamCaptureMode mode = thread_local_mode,
            cudaError_t end = cudaErrorStreamCaptureInvalidated) {
  const Words words(4);
  ok(cudaStreamBeginCapture(stream, mode));
  words.fill(1, stream);
  f();
  cudaGraph_t graph = reinterpret_cast<cudaGraph_t>(stream);
  CHECK(error_of(cudaStreamEndCapture(stream, &graph)) == end);
  CHECK(graph == nullptr);
  CHECK(status_of(stream) == cudaStreamCaptureStatusNone);
  words.fill(2, stream);
  CHECK(words.byte(stream) == 2);
  const Graph again(capture(stream, [&] { words.fill(3, stream); }));
  again.launch(stream);
  CHECK(words.byte(stream) == 3);
}

}  // namespace

TEST_SUITE("cuda rules: capture") {
  // Runtime API, Stream Management, cudaStreamBeginCapture: "operations pushed into the stream will
  // not be executed, but will instead be captured".
  TEST_CASE("captured work does not run before its graph is launched, and then each time") {
    on_one_rank([] {
      const Stream stream;
      const Words words(64);
      const Graph graph(capture(stream, [&] { words.fill(5, stream); }));
      CHECK(words.byte(stream) == 0);
      for (int i = 0; i < 3; ++i) {
        words.fill(1, stream);
        graph.launch(stream);
        CHECK(words.byte(stream) == 5);
      }
    });
  }

  // Runtime API, cudaStreamIsCapturing.
  TEST_CASE("a stream says whether it captures") {
    on_one_rank([] {
      const Stream stream, other;
      cudaGraph_t graph = nullptr;
      CHECK(status_of(stream) == cudaStreamCaptureStatusNone);
      ok(cudaStreamBeginCapture(stream, thread_local_mode));
      CHECK(status_of(stream) == cudaStreamCaptureStatusActive);
      CHECK(status_of(other) == cudaStreamCaptureStatusNone);
      CHECK(error_of(cudaStreamSynchronize(stream)) == cudaErrorStreamCaptureUnsupported);
      CHECK(status_of(stream) == cudaStreamCaptureStatusInvalidated);
      CHECK(error_of(cudaStreamEndCapture(stream, &graph)) == cudaErrorStreamCaptureInvalidated);
      CHECK(status_of(stream) == cudaStreamCaptureStatusNone);
    });
  }

  // Runtime API, cudaStreamGetCaptureInfo: an id "unique over the lifetime of the process".
  TEST_CASE("each capture has an id of its own, also in streams that joined it") {
    on_one_rank([] {
      const Stream stream, other;
      const Event event, joined;
      unsigned long long last = 0;
      for (int i = 0; i < 2; ++i) {
        const Graph graph(capture(stream, [&] {
          cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
          unsigned long long id = 0, of_other = 0;
          ok(cudaStreamGetCaptureInfo(stream, &status, &id));
          CHECK(status == cudaStreamCaptureStatusActive);
          CHECK(id != last);
          ok(cudaEventRecord(event, stream));
          ok(cudaStreamWaitEvent(other, event, 0));
          ok(cudaStreamGetCaptureInfo(other, &status, &of_other));
          CHECK(of_other == id);
          last = id;
          ok(cudaEventRecord(joined, other));
          ok(cudaStreamWaitEvent(stream, joined, 0));
        }));
      }
    });
  }

  // Capture, Cross-stream Dependencies and Events.
  TEST_CASE("other streams join a capture by an event, and must be joined back") {
    on_one_rank([] {
      const Stream stream, other;
      const Event fork, join;
      const Words a(1024), b(1024), c(1024);
      const Graph graph(capture(stream, [&] {
        a.fill(7, stream);
        ok(cudaEventRecord(fork, stream));
        ok(cudaStreamWaitEvent(other, fork, 0));
        a.copy_to(b, other);
        CHECK(status_of(other) == cudaStreamCaptureStatusActive);
        ok(cudaEventRecord(join, other));
        ok(cudaStreamWaitEvent(stream, join, 0));
        b.copy_to(c, stream);
      }));
      CHECK(status_of(other) == cudaStreamCaptureStatusNone);
      graph.launch(stream);
      CHECK(c.byte(stream) == 7);
    });
  }

  // The same section: cudaErrorStreamCaptureUnjoined.
  TEST_CASE("a capture with a fork that was not joined gives no graph") {
    on_one_rank([] {
      const Stream stream, other;
      const Event fork;
      const Words a(4);
      breaks(
          stream,
          [&] {
            ok(cudaEventRecord(fork, stream));
            ok(cudaStreamWaitEvent(other, fork, 0));
            a.fill(1, other);
          },
          thread_local_mode, cudaErrorStreamCaptureUnjoined);
      CHECK(status_of(other) == cudaStreamCaptureStatusNone);
    });
  }

  // Capture, Prohibited and Unhandled Operations: "It is invalid to ... waiting on an event ...
  // that is not captured" (cudaErrorStreamCaptureIsolation).
  TEST_CASE("a capture cannot wait for an event from outside") {
    on_one_rank([] {
      const Stream stream, other;
      const Event outside;
      ok(cudaEventRecord(outside, other));
      breaks(stream, [&] {
        CHECK(error_of(cudaStreamWaitEvent(stream, outside, 0)) == cudaErrorStreamCaptureIsolation);
      });
    });
  }

  // The same section: "invalid to merge two separate capture graphs".
  TEST_CASE("two captures cannot wait for each other") {
    on_one_rank([] {
      const Stream stream, other;
      const Event event;
      const Words words(4);
      cudaGraph_t graph = nullptr;
      ok(cudaStreamBeginCapture(stream, thread_local_mode));
      ok(cudaStreamBeginCapture(other, thread_local_mode));
      words.fill(1, stream);
      words.fill(1, other);
      ok(cudaEventRecord(event, other));
      CHECK(error_of(cudaStreamWaitEvent(stream, event, 0)) == cudaErrorStreamCaptureMerge);
      for (const cudaStream_t s : {cudaStream_t(stream), cudaStream_t(other)}) {
        static_cast<void>(error_of(cudaStreamEndCapture(s, &graph)));
        if (graph != nullptr) ok(cudaGraphDestroy(graph));
        CHECK(status_of(s) == cudaStreamCaptureStatusNone);
      }
    });
  }

  // The same section: "invalid to synchronize or query the execution status of a stream which is
  // being captured or a captured event".
  TEST_CASE("what captures can be neither waited for nor asked") {
    on_one_rank([] {
      const Stream stream;
      const Event event;
      breaks(stream, [&] {
        CHECK(error_of(cudaStreamSynchronize(stream)) == cudaErrorStreamCaptureUnsupported);
      });
      breaks(stream, [&] {
        CHECK(error_of(cudaStreamQuery(stream)) == cudaErrorStreamCaptureUnsupported);
      });
      breaks(stream, [&] {
        ok(cudaEventRecord(event, stream));
        CHECK(error_of(cudaEventQuery(event)) == cudaErrorCapturedEvent);
      });
      breaks(stream, [&] {
        ok(cudaEventRecord(event, stream));
        CHECK(error_of(cudaEventSynchronize(event)) == cudaErrorCapturedEvent);
      });
      breaks(stream, [&] {
        CHECK(error_of(cudaDeviceSynchronize()) == cudaErrorStreamCaptureUnsupported);
      });
    });
  }

  // The same section: after that "any associated capture graphs are invalidated", and "further use of
  // the streams ... is invalid and will return an error, until stream capture is ended".
  TEST_CASE("a broken capture refuses more work until it is ended") {
    on_one_rank([] {
      const Stream stream;
      const Words words(4);
      breaks(stream, [&] {
        static_cast<void>(error_of(cudaStreamSynchronize(stream)));
        CHECK(error_of(cudaMemsetAsync(words.get(), 1, 4, stream)) ==
              cudaErrorStreamCaptureInvalidated);
      });
    });
  }

  // Runtime API, cudaThreadExchangeStreamCaptureMode: cudaMalloc is the example of an unsafe call.
  TEST_CASE("a capture forbids its own thread to allocate, unless it is relaxed") {
    on_one_rank([] {
      const Stream stream;
      void* pointer = nullptr;
      for (const auto mode : {thread_local_mode, cudaStreamCaptureModeGlobal})
        breaks(
            stream,
            [&] { CHECK(error_of(cudaMalloc(&pointer, 16)) == cudaErrorStreamCaptureUnsupported); },
            mode);
      const Words words(4);
      const Graph graph(capture(
          stream,
          [&] {
            words.fill(1, stream);
            ok(cudaMalloc(&pointer, 16));
          },
          cudaStreamCaptureModeRelaxed));
      ok(cudaFree(pointer));
      graph.launch(stream);
      CHECK(words.byte(stream) == 1);
    });
  }

  // The same: the thread's own mode.
  TEST_CASE("a thread may lift the ban for itself") {
    on_one_rank([] {
      const Stream stream;
      const Words words(4);
      void* pointer = nullptr;
      const Graph graph(capture(stream, [&] {
        words.fill(1, stream);
        cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
        ok(cudaThreadExchangeStreamCaptureMode(&mode));
        CHECK(mode == cudaStreamCaptureModeGlobal);
        CHECK(cudaMalloc(&pointer, 16) == cudaSuccess);
        ok(cudaThreadExchangeStreamCaptureMode(&mode));
        CHECK(mode == cudaStreamCaptureModeRelaxed);
      }));
      ok(cudaFree(pointer));
    });
  }

  // The same: "Concurrent capture sequences in other threads are ignored" but for global ones.
  TEST_CASE("a global capture forbids other threads to allocate, a thread-local one does not") {
    for (const auto mode : {thread_local_mode, cudaStreamCaptureModeGlobal})
      on_ranks(2, [mode](int rank) {
        static std::barrier meeting(2);
        const Stream stream;
        const Words words(4);
        meeting.arrive_and_wait();
        if (rank == 0) ok(cudaStreamBeginCapture(stream, mode));
        meeting.arrive_and_wait();
        const bool global = mode == cudaStreamCaptureModeGlobal;
        if (rank == 1) {
          void* pointer = nullptr;
          CHECK(error_of(cudaMalloc(&pointer, 16)) ==
                (global ? cudaErrorStreamCaptureUnsupported : cudaSuccess));
          if (!global) ok(cudaFree(pointer));
        }
        meeting.arrive_and_wait();
        if (rank == 0) {
          cudaGraph_t graph = nullptr;
          CHECK(error_of(cudaStreamEndCapture(stream, &graph)) ==
                (global ? cudaErrorStreamCaptureInvalidated : cudaSuccess));
          if (graph != nullptr) ok(cudaGraphDestroy(graph));
        }
        meeting.arrive_and_wait();
      });
  }

  // The same: work in other streams of the same thread stays eager.
  TEST_CASE("a stream beside the capture still runs its work at once") {
    on_one_rank([] {
      const Stream stream, other;
      const Words a(4), b(4);
      const Graph graph(capture(stream, [&] {
        a.fill(1, stream);
        b.fill(2, other);
      }));
      CHECK(b.byte(other) == 2);
      CHECK(a.byte(stream) == 0);
    });
  }

  // Runtime API, cudaStreamBeginCapture: "Capture may not be initiated if stream is
  // cudaStreamLegacy".
  TEST_CASE("the default stream cannot be captured") {
    on_one_rank([] {
      CHECK(error_of(cudaStreamBeginCapture(nullptr, thread_local_mode)) ==
            cudaErrorStreamCaptureUnsupported);
      const Words words(4);
      words.fill(1, nullptr);
      CHECK(words.byte(nullptr) == 1);
    });
  }

  // Runtime API, cudaStreamIsCapturing: of the legacy stream while a blocking stream captures it
  // gives cudaErrorStreamCaptureImplicit, and "The blocking stream capture is not invalidated".
  TEST_CASE("the default stream cannot be used or asked while a blocking stream captures") {
    on_one_rank([] {
      const Stream stream(cudaStreamDefault);
      const Words words(4);
      {
        const Graph graph(capture(stream, [&] {
          cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
          CHECK(error_of(cudaStreamIsCapturing(nullptr, &status)) ==
                cudaErrorStreamCaptureImplicit);
          words.fill(1, stream);
        }));
      }
      breaks(stream, [&] {
        CHECK(error_of(cudaMemsetAsync(words.get(), 1, 4, nullptr)) ==
              cudaErrorStreamCaptureImplicit);
      });
    });
  }

  // The same for streams made with cudaStreamNonBlocking: no implicit dependency, no error.
  TEST_CASE("the default stream can be used while a non-blocking stream captures") {
    on_one_rank([] {
      const Stream stream;
      const Words a(4), b(4);
      const Graph graph(capture(stream, [&] {
        a.fill(1, stream);
        b.fill(2, nullptr);
      }));
      CHECK(b.byte(nullptr) == 2);
    });
  }

  // Runtime API, cudaStreamBeginCapture, cudaStreamEndCapture.
  TEST_CASE("a capture begins once, and ends in the stream where it began") {
    on_one_rank([] {
      const Stream stream, other;
      const Event fork;
      cudaGraph_t graph = nullptr;
      CHECK(error_of(cudaStreamEndCapture(stream, &graph)) != cudaSuccess);
      ok(cudaStreamBeginCapture(stream, thread_local_mode));
      CHECK(error_of(cudaStreamBeginCapture(stream, thread_local_mode)) != cudaSuccess);
      ok(cudaEventRecord(fork, stream));
      static_cast<void>(error_of(cudaStreamWaitEvent(other, fork, 0)));
      CHECK(error_of(cudaStreamEndCapture(other, &graph)) != cudaSuccess);
      CHECK(graph == nullptr);
      static_cast<void>(error_of(cudaStreamEndCapture(stream, &graph)));
      if (graph != nullptr) ok(cudaGraphDestroy(graph));
      CHECK(status_of(stream) == cudaStreamCaptureStatusNone);
      CHECK(status_of(other) == cudaStreamCaptureStatusNone);
    });
  }

  // Runtime API, cudaStreamEndCapture: cudaErrorStreamCaptureWrongThread unless relaxed.
  TEST_CASE("a capture ends in the thread where it began, unless it is relaxed") {
    for (const auto mode : {thread_local_mode, cudaStreamCaptureModeRelaxed})
      on_ranks(2, [mode](int rank) {
        static std::barrier meeting(2);
        static cudaStream_t shared = nullptr;
        const Stream stream;
        const bool relaxed = mode == cudaStreamCaptureModeRelaxed;
        meeting.arrive_and_wait();
        if (rank == 0) {
          shared = stream;
          ok(cudaStreamBeginCapture(stream, mode));
        }
        meeting.arrive_and_wait();
        cudaGraph_t graph = nullptr;
        if (rank == 1)
          CHECK(error_of(cudaStreamEndCapture(shared, &graph)) ==
                (relaxed ? cudaSuccess : cudaErrorStreamCaptureWrongThread));
        meeting.arrive_and_wait();
        if (rank == 0 && !relaxed)
          static_cast<void>(error_of(cudaStreamEndCapture(stream, &graph)));
        if (graph != nullptr) ok(cudaGraphDestroy(graph));
        meeting.arrive_and_wait();
      });
  }
}
