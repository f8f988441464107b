// Capture and replay in the manner of a world's memory.
#pragma once

#include <concepts>

#include <dpgather/graph/host_graphs.hpp>

#include "conformance/guarded.hpp"

namespace conformance {

/// Where a first call may allocate, it must come before a capture. Without results of use.
template <class World, class Stream, class Body>
void warm_up(typename World::Comm& comm, const Place<Stream>& rank, const Body& body) {
  if (!World::Graphs::warms_up) return;
  body(rank.stream);
  finish(comm, rank);
}
/// A graph of what `body` does, once every rank has one.
template <class World, class Stream, class Body>
auto capture(const Place<Stream>& rank, const Body& body) {
  auto graph = World::Graphs::capture(rank.stream, body);
  rank.barrier();
  World::Graphs::prepare(graph, rank.stream);
  rank.stream.synchronize();
  rank.barrier();
  return graph;
}
template <class World, class Graph, class Stream>
void launch(const Graph& graph, const Place<Stream>& rank) {
  World::Graphs::launch(graph, rank.stream, {.operation = "replay"});
}
/// What a recording of the host holds; other graphs do not tell.
template <class World, class Graph>
const dpgather::Recording* recording_of(const Graph& graph) {
  if constexpr (std::same_as<typename World::Graphs, dpgather::HostGraphs>)
    return graph.get();
  else
    return nullptr;
}

}  // namespace conformance
