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

/// Collective, and so is its end where the communicator maps buffers. Every rank gives its own buffer,
/// which lives as long as any rank's table is used.
template <Element T, PeerCommunicator Comm>
class PeerTable {
  using Stream = typename Comm::memory_type::stream_type;

 public:
  PeerTable(Comm& comm, T* own) : comm_(comm), addresses_(comm.size()), reach_(comm, own) {
    const Stream stream{};
    if constexpr (PeerReach<Comm>::maps) {
      const std::span<const std::int64_t> all = reach_.mapping->addresses();
      for (std::size_t i = 0; i < all.size(); i += WriteWords::most)
        write(all.subspan(i, std::min<std::size_t>(WriteWords::most, all.size() - i)),
              addresses_.data() + i, stream);
    } else {
      const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(own));
      std::int64_t* const to = addresses_.data() + comm.rank();
      write({&address, 1}, to, stream);
      comm.all_gather(static_cast<const std::int64_t*>(to), addresses_.data(), 1, stream);
    }
    if constexpr (requires { comm.synchronize(stream); })
      comm.synchronize(stream);
    else
      stream.synchronize();
  }
  [[nodiscard]] Peers<T> view() const {
    return {addresses_.data(), comm_.size(), comm_.rank(), comm_.stop_word()};
  }

 private:
  static void write(std::span<const std::int64_t> words, std::int64_t* to, Stream stream) {
    WriteWords work{};
    std::copy(words.begin(), words.end(), work.values);
    work.to = to;
    work.count = static_cast<int>(words.size());
    launch(stream, "addresses", 1, work);
  }

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
