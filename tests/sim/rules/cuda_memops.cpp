// Stream memory operations. Sections named are those of the CUDA Driver API reference (13.0).
#include <cuda.h>

#include "sim/rules/harness.hpp"

using namespace rules;

namespace {

/// The driver's functions, found as a program finds them that does not link libcuda.
struct Driver {
  decltype(&cuStreamWaitValue32) wait = nullptr;
  decltype(&cuStreamWriteValue32) write = nullptr;
  decltype(&cuStreamBatchMemOp) batch = nullptr;

  Driver() {
    find("cuStreamWaitValue32", wait);
    find("cuStreamWriteValue32", write);
    find("cuStreamBatchMemOp", batch);
  }

  template <class F>
  static void find(const char* name, F& function) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult state = cudaDriverEntryPointSymbolNotFound;
    ok(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &state));
    if (state != cudaDriverEntryPointSuccess) throw std::runtime_error(name);
    function = reinterpret_cast<F>(found);
  }
};

CUdeviceptr at(const std::uint32_t* word) {
  return reinterpret_cast<CUdeviceptr>(word);
}

void ok(CUresult result) {
  if (result != CUDA_SUCCESS) throw std::runtime_error("CUresult " + std::to_string(result));
}

}  // namespace

TEST_SUITE("cuda rules: stream memory operations") {
  // Runtime API, Driver Entry Point Access, cudaGetDriverEntryPointByVersion.
  TEST_CASE("a driver function that does not exist is not found, which is no error") {
    on_one_rank([] {
      void* found = &found;
      cudaDriverEntryPointQueryResult state = cudaDriverEntryPointSuccess;
      rules::ok(cudaGetDriverEntryPointByVersion("cuNoSuchFunction", &found, 12000,
                                                 cudaEnableDefault, &state));
      CHECK(state == cudaDriverEntryPointSymbolNotFound);
      CHECK(found == nullptr);
    });
  }

  // Driver API, Stream Memory Operations, cuStreamWriteValue32.
  TEST_CASE("a value is written in stream order") {
    on_one_rank([] {
      const Driver driver;
      const Stream stream;
      const Words words(1);
      words.fill(1, stream);
      ok(driver.write(stream, at(words.get()), 0x02020202, 0));
      CHECK(words.byte(stream) == 2);
    });
  }

  // Driver API, Stream Memory Operations, cuStreamWaitValue32: "Work ordered after the operation
  // will block until the given condition is satisfied."
  TEST_CASE("work after a wait comes after what was before the write that lets it go") {
    on_one_rank([] {
      const Driver driver;
      const Stream first, second;
      const Words flag(1), a(4096), b(4096);
      ok(driver.wait(second, at(flag.get()), 1, CU_STREAM_WAIT_VALUE_GEQ));
      a.copy_to(b, second);
      a.fill(5, first);
      ok(driver.write(first, at(flag.get()), 1, 0));
      CHECK(b.byte(second) == 5);
    });
  }

  // The same section: memory of the host that a device can access will do.
  TEST_CASE("the host lets a stream go by a store to pinned memory") {
    on_one_rank([] {
      const Driver driver;
      const Stream stream;
      const Event event;
      const Pinned flag(0);
      const Words words(4);
      ok(driver.wait(stream, at(flag.get()), 7, CU_STREAM_WAIT_VALUE_EQ));
      words.fill(3, stream);
      rules::ok(cudaEventRecord(event, stream));
      for (int i = 0; i < 100; ++i) CHECK(error_of(cudaEventQuery(event)) == cudaErrorNotReady);
      flag.store(7);
      CHECK(words.byte(stream) == 3);
    });
  }

  // CUstreamWaitValue_flags: "(int32_t)(*addr - value) >= 0", so that counters may wrap.
  TEST_CASE("the conditions of a wait: cyclic not less, equal, and a common bit") {
    on_one_rank([] {
      const Driver driver;
      const Stream stream;
      const Pinned word(0x80000010);
      ok(driver.wait(stream, at(word.get()), 0x80000010, CU_STREAM_WAIT_VALUE_GEQ));
      ok(driver.wait(stream, at(word.get()), 0x7FFFFFFF, CU_STREAM_WAIT_VALUE_GEQ));
      ok(driver.wait(stream, at(word.get()), 0x80000010, CU_STREAM_WAIT_VALUE_EQ));
      ok(driver.wait(stream, at(word.get()), 0x00000030, CU_STREAM_WAIT_VALUE_AND));
      stream.sync();
      word.store(3);
      ok(driver.wait(stream, at(word.get()), 0xFFFFFFFF, CU_STREAM_WAIT_VALUE_GEQ));
      stream.sync();
      const Event event;
      ok(driver.wait(stream, at(word.get()), 4, CU_STREAM_WAIT_VALUE_GEQ));
      rules::ok(cudaEventRecord(event, stream));
      CHECK(error_of(cudaEventQuery(event)) == cudaErrorNotReady);
      word.store(4);
      stream.sync();
    });
  }

  // Runtime API, Event Management, cudaEventRecord: waits "use the most recently captured state at
  // the time of the API call, and are not affected by later calls".
  TEST_CASE("a wait takes the event as it is at the call, not as it is recorded later") {
    on_one_rank([] {
      const Driver driver;
      const Stream first, second, held;
      const Event event;
      const Pinned gate(0);
      const Words a(64), b(64);
      a.fill(1, first);
      rules::ok(cudaEventRecord(event, first));
      rules::ok(cudaStreamWaitEvent(second, event, 0));
      ok(driver.wait(held, at(gate.get()), 1, CU_STREAM_WAIT_VALUE_EQ));
      rules::ok(cudaEventRecord(event, held));
      a.copy_to(b, second);
      CHECK(b.byte(second) == 1);  // or it would wait for ever
      CHECK(error_of(cudaEventQuery(event)) == cudaErrorNotReady);
      gate.store(1);
      held.sync();
    });
  }

  // Driver API, Stream Memory Operations, cuStreamWaitValue32: "addr ... must be aligned to 4 bytes".
  TEST_CASE("an address that is no multiple of 4 is refused") {
    on_one_rank([] {
      const Driver driver;
      const Stream stream;
      const Words words(2);
      CHECK(driver.wait(stream, at(words.get()) + 2, 0, CU_STREAM_WAIT_VALUE_GEQ) ==
            CUDA_ERROR_INVALID_VALUE);
      CHECK(driver.write(stream, at(words.get()) + 1, 0, 0) == CUDA_ERROR_INVALID_VALUE);
      stream.sync();
    });
  }

  // Driver API, Stream Memory Operations, cuStreamBatchMemOp: in stream order as one batch.
  TEST_CASE("a batch writes and waits") {
    on_one_rank([] {
      const Driver driver;
      const Stream first, second;
      const Words words(2);
      CUstreamBatchMemOpParams ops[2] = {};
      ops[0].operation = ops[1].operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
      ops[0].writeValue.address = at(words.get());
      ops[1].writeValue.address = at(words.get() + 1);
      ops[0].writeValue.value = ops[1].writeValue.value = 0x04040404;
      CUstreamBatchMemOpParams waits[2] = {};
      waits[0].operation = waits[1].operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
      waits[0].waitValue.address = at(words.get());
      waits[1].waitValue.address = at(words.get() + 1);
      waits[0].waitValue.value = waits[1].waitValue.value = 0x04040404;
      waits[0].waitValue.flags = waits[1].waitValue.flags = CU_STREAM_WAIT_VALUE_EQ;
      ok(driver.batch(second, 2, waits, 0));
      ok(driver.batch(first, 2, ops, 0));
      CHECK(words.byte(second) == 4);
    });
  }

  // Driver API, Stream Memory Operations: streams of several threads, with nothing but memory
  // between them. Every wait is let go by work that is already enqueued.
  TEST_CASE("two ranks hand a buffer to and fro by flags") {
    on_ranks(2, [](int rank) {
      static const Words* shared = nullptr;
      static const Words* flags = nullptr;
      static std::barrier meeting(2);
      const Driver driver;
      const Stream stream;
      const Words data(256), turns(2);
      if (rank == 0) {
        shared = &data;
        flags = &turns;
      }
      meeting.arrive_and_wait();
      const auto mine = at(flags->get() + rank), other = at(flags->get() + 1 - rank);
      int wrong = 0;
      for (std::uint32_t round = 1; round <= 4; ++round) {
        // Rank 0 writes, rank 1 reads, and so on; rank 0 waits for the reader before it goes on.
        if (rank == 0) {
          shared->fill(static_cast<int>(round), stream);
          ok(driver.write(stream, mine, round, 0));
          meeting.arrive_and_wait();
          ok(driver.wait(stream, other, round, CU_STREAM_WAIT_VALUE_GEQ));
        } else {
          meeting.arrive_and_wait();
          ok(driver.wait(stream, other, round, CU_STREAM_WAIT_VALUE_GEQ));
          wrong += shared->byte(stream) != static_cast<int>(round);
          ok(driver.write(stream, mine, round, 0));
        }
      }
      stream.sync();
      CHECK(wrong == 0);
      meeting.arrive_and_wait();
    });
  }

  // Programming Guide, CUDA Graphs, node types: "batch memory operation" nodes; the Driver API's
  // stream memory operations can be captured.
  TEST_CASE("waits and writes can be captured, with their values baked in") {
    on_one_rank([] {
      const Driver driver;
      const Stream stream;
      const Pinned flag(0);
      const Words words(1);
      const Graph graph(capture(stream, [&] {
        ok(driver.wait(stream, at(flag.get()), 1, CU_STREAM_WAIT_VALUE_GEQ));
        ok(driver.write(stream, at(words.get()), 0x06060606, 0));
      }));
      for (int i = 0; i < 2; ++i) {
        flag.store(0);
        words.fill(0, stream);
        graph.launch(stream);
        flag.store(1);
        CHECK(words.byte(stream) == 6);
      }
    });
  }
}
