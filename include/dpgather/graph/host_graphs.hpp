// Graph backend of host memory: a recording that is replayed.
#pragma once

#include <concepts>
#include <memory>

#include <dpgather/core/error.hpp>
#include <dpgather/core/stream.hpp>

namespace dpgather {

/// What a backend does: capture what `body` issues on the stream it is given, without running it;
/// launch it later.
template <class B>
concept GraphBackend = requires(typename B::stream_type stream, const typename B::graph_type& graph,
                                void (*body)(typename B::stream_type)) {
  { B::capture(stream, body) } -> std::same_as<typename B::graph_type>;
  B::launch(graph, stream, ErrorContext{});
};

struct HostGraphs {
  using stream_type = HostStream;
  using graph_type = std::unique_ptr<const Recording>;

  /// If `body` throws, what it recorded is dropped and the stream is as it was.
  template <std::invocable<HostStream> Body>
  [[nodiscard]] static graph_type capture(HostStream stream, Body&& body) {
    require<GraphError>(!stream.capturing(), {.operation = "capture"},
                        "the stream is capturing already");
    auto recording = std::make_unique<Recording>();
    body(HostStream(*recording));
    return recording;
  }
  /// `where` labels errors and says which step it is.
  static void launch(const graph_type& graph, HostStream, const ErrorContext& where) {
    graph->replay(where);
  }
};

static_assert(GraphBackend<HostGraphs>);

}  // namespace dpgather
