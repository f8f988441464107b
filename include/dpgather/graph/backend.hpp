// What a graph cache asks of a memory space's graphs.
#pragma once

#include <concepts>
#include <cstddef>

#include <dpgather/core/error.hpp>

namespace dpgather {

/// Captures what `body` issues on the stream it is given, without running it; launches it later.
/// `warms_up`: a key's first step runs eagerly, and is captured after that, since the first use of
/// an operation may allocate. `prepare` follows once all ranks have captured: what would make the
/// first launch slow.
template <class B>
concept GraphBackend = requires(typename B::stream_type stream, typename B::graph_type& graph,
                                void (*body)(typename B::stream_type)) {
  { B::warms_up } -> std::convertible_to<bool>;
  { B::capture(stream, body) } -> std::same_as<typename B::graph_type>;
  B::prepare(graph, stream);
  B::launch(graph, stream, ErrorContext{});
  { B::bytes(graph) } -> std::same_as<std::size_t>;
};

}  // namespace dpgather
