// Executable graphs. Sections named are those of the CUDA Runtime API reference and of the CUDA C++
// Programming Guide (13.0).
#include <memory>

#include "sim/rules/harness.hpp"

using namespace rules;

TEST_SUITE("cuda rules: graphs") {
  // Programming Guide, CUDA Graphs: parameters are those at capture.
  TEST_CASE("addresses and values are baked in, what lies in memory is not") {
    on_one_rank([] {
      const Stream stream;
      const Words a(64), b(64);
      int value = 3;
      const Graph graph(capture(stream, [&] {
        a.copy_to(b, stream);
        a.fill(value, stream);
      }));
      value = 4;
      a.fill(9, stream);
      graph.launch(stream);
      CHECK(b.byte(stream) == 9);
      CHECK(a.byte(stream) == 3);
      graph.launch(stream);
      CHECK(b.byte(stream) == 3);
    });
  }

  // The same: a copy from the host reads memory at each launch.
  TEST_CASE("a captured copy from pinned memory reads it at each launch") {
    on_one_rank([] {
      const Stream stream;
      const Pinned source(0);
      const Words words(1);
      const Graph graph(capture(stream, [&] {
        ok(cudaMemcpyAsync(words.get(), source.get(), 4, cudaMemcpyHostToDevice, stream));
      }));
      for (const std::uint32_t value : {0x01010101U, 0x02020202U}) {
        source.store(value);
        graph.launch(stream);
        CHECK(words.byte(stream) == static_cast<int>(value & 0xFF));
      }
    });
  }

  // Runtime API, Graph Management, cudaGraphLaunch: "Each launch is ordered behind ... any previous
  // work in stream".
  TEST_CASE("a launch is in stream order") {
    on_one_rank([] {
      const Stream stream;
      const Words a(1024), b(1024), c(1024);
      const Graph graph(capture(stream, [&] { a.copy_to(b, stream); }));
      a.fill(5, stream);
      graph.launch(stream);
      b.copy_to(c, stream);
      a.fill(6, stream);
      CHECK(c.byte(stream) == 5);
    });
  }

  // The same: "... and any previous launches of graphExec". "Only one instance of graphExec may be
  // executing at a time."
  TEST_CASE("launches of one executable graph in two streams run one after the other") {
    on_one_rank([] {
      const Stream first, second, capturing;
      struct Data {
        int inside = 0, most = 0, runs = 0;
      } data;
      const Graph graph(capture(capturing, [&] {
        ok(cudaLaunchHostFunc(
            capturing,
            [](void* raw) {
              auto* const d = static_cast<Data*>(raw);
              d->most = std::max(d->most, ++d->inside);
              ++d->runs;
            },
            &data));
        ok(cudaLaunchHostFunc(
            capturing, [](void* raw) { --static_cast<Data*>(raw)->inside; }, &data));
      }));
      for (int i = 0; i < 5; ++i) {
        graph.launch(first);
        graph.launch(second);
      }
      first.sync();
      second.sync();
      CHECK(data.runs == 10);
      CHECK(data.most == 1);
    });
  }

  // Runtime API, cudaGraphLaunch: order between launches of one executable also carries data.
  TEST_CASE("a later launch in another stream sees what the one before it wrote") {
    on_one_rank([] {
      const Stream first, second;
      const Words a(1024), b(1024), c(1024);
      const Graph graph(capture(first, [&] {
        b.copy_to(c, first);
        a.copy_to(b, first);
      }));
      a.fill(4, first);
      graph.launch(first);
      graph.launch(second);
      CHECK(c.byte(second) == 4);
    });
  }

  // Runtime API, Graph Management, cudaGraphGetNodes.
  TEST_CASE("a graph has a node for each operation") {
    on_one_rank([] {
      const Stream stream;
      const Words a(4), b(4);
      const Graph graph(capture(stream, [&] {
        a.fill(1, stream);
        a.copy_to(b, stream);
        b.fill(2, stream);
      }));
      std::size_t number = 0;
      ok(cudaGraphGetNodes(graph.graph(), nullptr, &number));
      CHECK(number == 3);
    });
  }

  // The same.
  TEST_CASE("an empty capture is a graph without nodes, which can be launched") {
    on_one_rank([] {
      const Stream stream;
      const Graph graph(capture(stream, [] {}));
      std::size_t number = 99;
      ok(cudaGraphGetNodes(graph.graph(), nullptr, &number));
      CHECK(number == 0);
      graph.launch(stream);
      stream.sync();
    });
  }

  // Runtime API, cudaGraphInstantiate: the executable is independent of the graph.
  TEST_CASE("an executable graph outlives the graph that it was made from") {
    on_one_rank([] {
      const Stream stream;
      const Words words(4);
      cudaGraph_t graph = capture(stream, [&] { words.fill(3, stream); });
      cudaGraphExec_t exec = nullptr;
      ok(cudaGraphInstantiate(&exec, graph, 0));
      ok(cudaGraphDestroy(graph));
      ok(cudaGraphUpload(exec, stream));
      ok(cudaGraphLaunch(exec, stream));
      CHECK(words.byte(stream) == 3);
      ok(cudaGraphExecDestroy(exec));
    });
  }

  // Runtime API, cudaGraphExecDestroy: "If in flight ... deferred until completion".
  TEST_CASE("an executable graph may be destroyed while it runs: the launch is completed") {
    on_one_rank([] {
      const Stream stream;
      const Words words(std::size_t{1} << 16);
      {
        const Graph graph(capture(stream, [&] { words.fill(3, stream); }));
        graph.launch(stream);
      }
      CHECK(words.byte(stream) == 3);
    });
  }

  // Runtime API, cudaGraphLaunch: another stream of the device than the one captured.
  TEST_CASE("a graph can be launched in a stream other than the captured one") {
    on_one_rank([] {
      const Words words(4);
      std::unique_ptr<Graph> graph;
      {
        const Stream stream;
        graph = std::make_unique<Graph>(capture(stream, [&] { words.fill(8, stream); }));
      }
      const Stream other;
      graph->launch(other);
      CHECK(words.byte(other) == 8);
      graph->launch(nullptr);
      CHECK(words.byte(nullptr) == 8);
    });
  }

  // Programming Guide, CUDA Graphs: branches without an edge between them may run in any order, and
  // what follows both waits for both.
  TEST_CASE("what joins two branches waits for both, and they for what forked them") {
    on_one_rank([] {
      const Stream stream, other;
      const Event fork, join;
      const Words a(1024), b(1024), c(1024), sum(2048);
      const Graph graph(capture(stream, [&] {
        a.fill(6, stream);
        ok(cudaEventRecord(fork, stream));
        ok(cudaStreamWaitEvent(other, fork, 0));
        a.copy_to(b, stream);
        a.copy_to(c, other);
        ok(cudaEventRecord(join, other));
        ok(cudaStreamWaitEvent(stream, join, 0));
        ok(cudaMemcpyAsync(sum.get(), b.get(), b.bytes(), cudaMemcpyDeviceToDevice, stream));
        ok(cudaMemcpyAsync(sum.get() + 1024, c.get(), c.bytes(), cudaMemcpyDeviceToDevice, stream));
      }));
      for (int i = 0; i < 3; ++i) {
        sum.fill(0, stream);
        graph.launch(stream);
        CHECK(sum.byte(stream) == 6);
      }
    });
  }

  // Programming Guide, CUDA Graphs, Using Graph APIs / child graphs: a launch into a capture.
  TEST_CASE("a graph launched into a capture is part of the graph that comes out") {
    on_one_rank([] {
      const Stream stream;
      const Words a(64), b(64), c(64);
      const Graph inner(capture(stream, [&] { a.copy_to(b, stream); }));
      const Graph outer(capture(stream, [&] {
        a.fill(2, stream);
        inner.launch(stream);
        b.copy_to(c, stream);
      }));
      CHECK(b.byte(stream) == 0);
      outer.launch(stream);
      CHECK(c.byte(stream) == 2);
    });
  }

  // Runtime API, Graph Management, cudaGraphLaunch: launched any number of times.
  TEST_CASE("a hundred replays each see the input written before them") {
    on_one_rank([] {
      const Stream stream;
      const Words in(16), out(16);
      const Graph graph(capture(stream, [&] { in.copy_to(out, stream); }));
      int wrong = 0;
      for (int i = 0; i < 100; ++i) {
        in.fill(i, stream);
        graph.launch(stream);
        wrong += out.byte(stream) != i;
      }
      CHECK(wrong == 0);
    });
  }

  // Runtime API, Graph Management: invalid handles.
  TEST_CASE("a null graph cannot be made executable, a null executable not launched") {
    on_one_rank([] {
      const Stream stream;
      cudaGraphExec_t exec = nullptr;
      CHECK(error_of(cudaGraphInstantiate(&exec, nullptr, 0)) == cudaErrorInvalidValue);
      CHECK(error_of(cudaGraphLaunch(nullptr, stream)) == cudaErrorInvalidValue);
    });
  }
}
