// Where a rank's model runs: what it keeps there, and how its work is started.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include <dpgather/core/memory.hpp>
#include <dpgather/core/stream.hpp>
#include <dpgather/graph/host_graphs.hpp>

#include "batch.hpp"
#include "replay.hpp"

namespace serve_trace {

/// What the serving loop needs of a memory space, as listed for the host below.
template <dpgather::MemorySpace Memory>
struct Platform;

/// The model runs on the host, inside the calls that start it. Nothing is copied.
template <>
struct Platform<dpgather::HostMemory> {
  using Stream = dpgather::HostStream;
  using Graphs = dpgather::HostGraphs;
  using BatchType = Batch;

  /// Elements that the model works on at `data()` and the host at `host()`. `upload` and `download`
  /// copy the first `count` of them, in the order of the stream.
  template <class T>
  class Elements {
   public:
    explicit Elements(std::int64_t count) : buffer_(count) {}
    [[nodiscard]] T* data() const { return buffer_.data(); }
    [[nodiscard]] T* host() const { return buffer_.data(); }
    void upload(std::int64_t /*count*/, Stream) const {}
    void download(std::int64_t /*count*/, Stream) const {}

   private:
    dpgather::Buffer<T> buffer_;
  };

  /// The rank's batch, where the model reads it; up to `max_rows` tokens and as many requests.
  class Input {
   public:
    explicit Input(std::int64_t max_rows) { batch_.reserve(max_rows, max_rows); }
    /// Makes it anew. The last one's work is done.
    Batch& load(const Work& work, std::int64_t step, int dp_rank, Stream) {
      batch_.assign(work, step, dp_rank);
      return batch_;
    }

   private:
    Batch batch_;
  };

  /// Runs `op()` in the order of the stream. It may be recorded: it is copied, and what varies from
  /// step to step it reads when it runs.
  template <class Op>
  static void work(Stream stream, std::string_view name, Op op) {
    stream.submit(name, std::move(op));
  }
  /// Returns once the stream's work is done; throws if a peer has given up.
  template <class Comm, class Control>
  static void wait(Comm&, Control&, Stream) {}
};

}  // namespace serve_trace
