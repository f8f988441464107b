// Graph backend of host memory: a recording that is replayed.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>

#include <dpgather/core/error.hpp>
#include <dpgather/core/stream.hpp>
#include <dpgather/graph/backend.hpp>

namespace dpgather {

struct HostGraphs {
  using stream_type = HostStream;
  using graph_type = std::unique_ptr<const Recording>;
  static constexpr bool warms_up = false;

  /// If `body` throws, what it recorded is dropped and the stream is as it was.
  template <std::invocable<HostStream> Body>
  [[nodiscard]] static graph_type capture(HostStream stream, Body&& body) {
    require<GraphError>(!stream.capturing(), {.operation = "capture"},
                        "the stream is capturing already");
    auto recording = std::make_unique<Recording>();
    body(HostStream(*recording));
    return recording;
  }
  static void prepare(const graph_type&, HostStream) {}
  /// `where` labels errors and says which step it is.
  static void launch(const graph_type& graph, HostStream, const ErrorContext& where) {
    graph->replay(where);
  }
  [[nodiscard]] static std::size_t bytes(const graph_type& graph) { return graph->bytes(); }
};

static_assert(GraphBackend<HostGraphs>);

}  // namespace dpgather
