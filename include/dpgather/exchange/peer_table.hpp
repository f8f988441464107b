// Where the ranks' buffers lie, for element work that stores into them and reads from them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

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

/// Nothing, where an address of one rank is good on all.
template <class Comm>
struct PeerReach {
  static constexpr bool maps = false;
  PeerReach(Comm&, const void*) {}
};
template <class Comm>
requires requires(Comm& comm, const void* own) {
  comm.reach(own)->addresses();
}
struct PeerReach<Comm> {
  static constexpr bool maps = true;
  PeerReach(Comm& comm, const void* own) : mapping(comm.reach(own)) {}
  decltype(std::declval<Comm&>().reach(nullptr)) mapping;
};

/// Waits for `stream`, as long as `comm` has not failed.
template <class Comm, class Stream>
void wait_for(Comm& comm, Stream stream) {
  if constexpr (requires { comm.synchronize(stream); })
    comm.synchronize(stream);
  else
    stream.synchronize();
}

/// `words` to `to`, in the order of `stream`.
template <class Stream>
void write_words(std::span<const std::int64_t> words, std::int64_t* to, Stream stream) {
  for (std::size_t i = 0; i < words.size(); i += WriteWords::most) {
    const auto some = words.subspan(i, std::min<std::size_t>(WriteWords::most, words.size() - i));
    WriteWords work{};
    std::copy(some.begin(), some.end(), work.values);
    work.to = to + i;
    work.count = static_cast<int>(some.size());
    launch(stream, "write_words", 1, work);
  }
}

/// Collective, done when it returns: `words`, `[ranks]`, are the `word` of every rank.
template <PeerCommunicator Comm>
void share_word(Comm& comm, std::int64_t word, std::int64_t* words) {
  const typename Comm::memory_type::stream_type stream{};
  std::int64_t* const own = words + comm.rank();
  write_words({&word, 1}, own, stream);
  comm.all_gather(static_cast<const std::int64_t*>(own), words, 1, stream);
  wait_for(comm, stream);
}

/// Collective, and so is its end where the communicator maps buffers. Every rank gives its own buffer,
/// which lives as long as any rank's table is used.
template <Element T, PeerCommunicator Comm>
class PeerTable {
 public:
  PeerTable(Comm& comm, T* own) : comm_(comm), addresses_(comm.size()), reach_(comm, own) {
    if constexpr (PeerReach<Comm>::maps) {
      const typename Comm::memory_type::stream_type stream{};
      write_words(reach_.mapping->addresses(), addresses_.data(), stream);
      wait_for(comm, stream);
    } else {
      share_word(comm, static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(own)),
                 addresses_.data());
    }
  }
  [[nodiscard]] Peers<T> view() const {
    return {addresses_.data(), comm_.size(), comm_.rank(), comm_.stop_word()};
  }

 private:
  Comm& comm_;
  Buffer<std::int64_t, typename Comm::memory_type> addresses_;
  [[no_unique_address]] PeerReach<Comm> reach_;
};

/// The buffers of a gather that peers reach.
template <class T>
struct GatherPeers {
  Peers<T> global;
  Peers<T> partial;
};

/// Both tables, if the gather's mode may store into peers' buffers and `comm` reaches them; else
/// nothing. A mode that `must` is refused on all ranks alike where peers are out of reach.
template <Element T, class Comm, bool Used>
class PeerTables {
 public:
  PeerTables(Comm& comm, T* global, T* partial, bool must) : comm_(comm) {
    if (comm.peers_in_reach()) {
      global_.emplace(comm, global);
      partial_.emplace(comm, partial);
    } else if (must) {
      comm.barrier({});  // says who cannot reach whom
    }
  }
  [[nodiscard]] bool in_reach() const { return global_.has_value(); }
  [[nodiscard]] GatherPeers<T> view() const {
    return in_reach() ? GatherPeers<T>{global_->view(), partial_->view()} : GatherPeers<T>{};
  }
  void check() { comm_.check(); }

 private:
  Comm& comm_;
  std::optional<PeerTable<T, Comm>> global_, partial_;
};
template <Element T, class Comm>
class PeerTables<T, Comm, false> {
 public:
  PeerTables(Comm&, T*, T*, bool) {}
  [[nodiscard]] bool in_reach() const { return false; }
  [[nodiscard]] GatherPeers<T> view() const { return {}; }
  void check() {}
};

}  // namespace dpgather::detail
