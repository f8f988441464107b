// Where the ranks' buffers lie, for element work that stores into them and reads from them.
#pragma once

#include <cstdint>
#include <optional>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/exchange/device_counts.hpp>

namespace dpgather::detail {

/// One buffer of every rank, in rank order. Addresses are read when the work runs.
template <class T>
struct Peers {
  const std::int64_t* addresses = nullptr;  ///< [ranks]
  int ranks = 0;
  int rank = 0;
  const std::uint32_t* stop = nullptr;  ///< element work does nothing once it is set

  [[nodiscard]] DPGATHER_HD T* buffer(int of) const {
    T* const data = reinterpret_cast<T*>(static_cast<std::uintptr_t>(addresses[of]));
#if defined(__CUDA_ARCH__)
    __builtin_assume(__isGlobal(data));  // which a pointer read from memory does not show
#endif
    return data;
  }
};

/// Waits for `stream`, as long as `comm` has not failed.
template <class Comm, class Stream>
void wait_for(Comm& comm, Stream stream) {
  if constexpr (requires { comm.synchronize(stream); })
    comm.synchronize(stream);
  else
    stream.synchronize();
}

/// Collective, done when it returns: `words`, `[ranks]`, are the `word` of every rank.
template <PeerCommunicator Comm>
void share_word(Comm& comm, std::int64_t word, std::int64_t* words) {
  const typename Comm::memory_type::stream_type stream{};
  WriteWords own{};
  own.values[0] = word;
  own.to = words + comm.rank();
  own.count = 1;
  launch(stream, "own_word", 1, own);
  comm.all_gather(static_cast<const std::int64_t*>(own.to), words, 1, stream);
  wait_for(comm, stream);
}

/// Collective: every rank gives its own buffer, which lives as long as any rank's table is used.
template <Element T, PeerCommunicator Comm>
class PeerTable {
 public:
  PeerTable(Comm& comm, T* own) : comm_(comm), addresses_(comm.size()) {
    share_word(comm, static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(own)),
               addresses_.data());
  }
  [[nodiscard]] Peers<T> view() const {
    return {addresses_.data(), comm_.size(), comm_.rank(), comm_.stop_word()};
  }

 private:
  Comm& comm_;
  Buffer<std::int64_t, typename Comm::memory_type> addresses_;
};

/// The buffers of a gather that peers reach.
template <class T>
struct GatherPeers {
  Peers<T> global;
  Peers<T> partial;
};

/// Both tables, if the gather's mode may store into peers' buffers and `comm` reaches them; else
/// nothing.
template <Element T, class Comm, bool Used>
class PeerTables {
 public:
  PeerTables(Comm& comm, T* global, T* partial) {
    if (!comm.peers_in_reach()) return;
    global_.emplace(comm, global);
    partial_.emplace(comm, partial);
  }
  [[nodiscard]] bool in_reach() const { return global_.has_value(); }
  [[nodiscard]] GatherPeers<T> view() const {
    if (!in_reach()) return {};
    return {global_->view(), partial_->view()};
  }

 private:
  std::optional<PeerTable<T, Comm>> global_, partial_;
};
template <Element T, class Comm>
class PeerTables<T, Comm, false> {
 public:
  PeerTables(Comm&, T*, T*) {}
  [[nodiscard]] bool in_reach() const { return false; }
  [[nodiscard]] GatherPeers<T> view() const { return {}; }
};

}  // namespace dpgather::detail
